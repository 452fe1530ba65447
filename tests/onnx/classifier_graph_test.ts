/** Every architecture in ONNX, beside the logits of transformers and PEFT (fixtures/references.py). */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import type { AdapterTensors } from "../../lib/engine/adapters/adapter.ts";
import { lora } from "../../lib/engine/adapters/lora.ts";
import {
  adapterTensor,
  cutAdapter,
  mergeAdapter,
} from "../../lib/engine/adapters/registry.ts";
import {
  encoderTensors,
  parameterLayout,
  tensorReader,
} from "../../lib/engine/models/parameters.ts";
import { PEFT_PREFIX } from "../../lib/engine/models/peft.ts";
import { headTensors } from "../../lib/engine/models/outline.ts";
import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import { writeClassifierGraph } from "../../lib/onnx/classifier_graph.ts";
import { scaleInput } from "../../lib/onnx/graph_weights.ts";
import {
  assertClose,
  openReference,
  type Reference,
  referenceBatch,
  referenceNames,
} from "../engine/reference.ts";
import { settings } from "../engine/reference_step.ts";
import { withFolder } from "../tasks/run_task.ts";
import { type Feed, ONNX_PYTHON, onnxruntimeLogits } from "./peer.ts";

const { rank: maxRank, alpha } = settings as { rank: number; alpha: number };
const TOLERANCE = 1e-4;
const ranks = [1, 2, 3, 4];

for (const name of referenceNames) {
  const reference = openReference(name);
  const { model, figures } = reference;
  const modules = parameterLayout(model, 2, { rank: maxRank }).modules
    .map(({ name }) => name);

  Deno.test({
    name:
      `one session gives the logits of transformers and PEFT for every adapter, rank, batch and length, ${name}`,
    ignore: ONNX_PYTHON === undefined,
    fn: () =>
      withFolder(async (folder) => {
        const path = join(folder, "model.onnx");
        const read = tensorReader(reference.file, model);
        writeClassifierGraph(path, { model, head: { modules }, read });
        const adapter = adapterOf(reference);
        const [padded, unpadded] = (["padded", "unpadded"] as const)
          .map((batch) => batchFeed(reference, batch));
        const one = firstRow(padded!);
        const cases: [what: string, feed: Feed, expected: Float32Array][] = [
          ...ranks.map((b) =>
            [
              `rank ${b}`,
              { ...padded, ...cut(adapter, b), ...scales(modules, b, b) },
              figures.floats(`lora.logits.rank${b}`),
            ] as [string, Feed, Float32Array]
          ),
          ["rank 2 of all rows", {
            ...padded,
            ...adapter,
            ...scales(modules, 2, maxRank),
          }, figures.floats("lora.logits.rank2")],
          ["the first example alone, without padding", {
            ...one,
            ...cut(adapter, 3),
            ...scales(modules, 3, 3),
          }, figures.floats("lora.logits.rank3").slice(0, 2)],
          ...[1, 2, 3].flatMap((labels) =>
            ([["padded", padded!], ["unpadded", unpadded!]] as const).map((
              [batch, feed],
            ) =>
              [
                `another adapter with ${labels} labels, ${batch}`,
                {
                  ...feed,
                  ...withoutEffect(adapter),
                  ...headOf(reference, labels),
                  ...scales(modules, 1, 1),
                },
                figures.floats(`${batch}.logits${labels}`),
              ] as [string, Feed, Float32Array]
            )
          ),
        ];
        const feeds = cases.map(([, feed]) => feed);
        const [logits] = await onnxruntimeLogits([{ path, feeds }]);
        for (const [i, [what, , expected]] of cases.entries()) {
          assertClose(logits![i]!, expected, TOLERANCE, what);
        }
      }),
  });

  Deno.test({
    name:
      `a merged model gives PEFT's logits, and nearly so in fewer bits, ${name}`,
    ignore: ONNX_PYTHON === undefined,
    fn: () =>
      withFolder(async (folder) => {
        const tensors = mergeAdapter(
          lora,
          encoderTensors(reference.file, model),
          cut(adapterOf(reference), 3),
          () => alpha / 3,
          PEFT_PREFIX,
        );
        const feeds = [batchFeed(reference, "padded")];
        const models = (["fp32", "fp16", "q8"] as const).map((precision) => {
          const path = join(folder, `${precision}.onnx`);
          writeClassifierGraph(path, {
            model,
            precision,
            head: 2,
            read: (name) => tensors[name]!.values as Float32Array,
          });
          return { path, feeds };
        });
        const [fp32, fp16, q8] = await onnxruntimeLogits(models);
        const expected = figures.floats("lora.logits.rank3");
        const range = Math.max(...expected) - Math.min(...expected);
        assertClose(fp32![0]!, expected, TOLERANCE, "fp32");
        assertClose(fp16![0]!, expected, 0.02 * range, "fp16");
        assertClose(q8![0]!, expected, 0.2 * range, "q8");
        const [size, half, quarter] = models.map(({ path }) =>
          Deno.statSync(path).size
        );
        assert(half! < size! && quarter! < size!);
      }),
  });
}

Deno.test({
  name:
    "weights that are too many for one file are beside it, with the same logits",
  ignore: ONNX_PYTHON === undefined,
  fn: () =>
    withFolder(async (folder) => {
      const reference = openReference("bert");
      const { model, figures, file } = reference;
      const path = join(folder, "model.onnx");
      const head = { modules: [] };
      const read = tensorReader(file, model);
      writeClassifierGraph(path, { model, head, read }, { maxInside: 1000 });
      assertEquals(
        Array.from(Deno.readDirSync(folder), ({ name }) => name).sort(),
        ["model.onnx", "model.onnx_data"],
      );
      const feeds = [{
        ...batchFeed(reference, "padded"),
        ...headOf(reference, 3),
      }];
      const [[logits]] = await onnxruntimeLogits([{ path, feeds }]) as [
        [number[]],
      ];
      const expected = figures.floats("padded.logits3");
      assertClose(logits, expected, TOLERANCE, "logits");
    }),
});

/** The adapter that PEFT made, of the greatest rank. */
function adapterOf({ figures }: Reference): AdapterTensors {
  return Object.fromEntries(
    [...figures.tensors].filter(([name]) => name.startsWith("adapter."))
      .map(([name, { shape }]) => [
        name.slice("adapter.".length),
        { shape, values: figures.floats(name) },
      ]),
  );
}

function cut(adapter: AdapterTensors, rank: number): AdapterTensors {
  return cutAdapter(adapter, () => rank);
}

/** The adapter at rank 1 with factors of zeros. */
function withoutEffect(adapter: AdapterTensors): AdapterTensors {
  return Object.fromEntries(
    Object.entries(cut(adapter, 1)).filter(([name]) => adapterTensor(name))
      .map(([name, { shape, values }]) => [
        name,
        { shape, values: new Float32Array(values.length) },
      ]),
  );
}

/** The scale of each of some rows at rank b. */
function scales(modules: readonly string[], b: number, rows: number): Feed {
  const values = Float32Array.from(
    { length: rows },
    (_, row) => row < b ? alpha / b : 0,
  );
  return Object.fromEntries(
    modules.map((name) => [scaleInput(name), { shape: [rows], values }]),
  );
}

/** The reference's head with this many labels, by PEFT's names. */
function headOf({ model, file, figures }: Reference, labels: number): Feed {
  const pretrained = tensorReader(file, model);
  return Object.fromEntries(
    headTensors(model.architecture, model.hidden, labels)
      .map(({ name, shape }): [string, TensorValues] => {
        const found = ["head", `head${labels}`]
          .map((group) => `${group}.${name}`)
          .find((it) => figures.tensors.has(it));
        const values = found === undefined
          ? pretrained(name, shape)
          : figures.floats(found);
        return [`${PEFT_PREFIX}${name}`, { shape, values }];
      }),
  );
}

function batchFeed(reference: Reference, name: "padded" | "unpadded"): Feed {
  const { shape, ids, types, mask } = referenceBatch(reference, name);
  const ones = new Int32Array(ids.length).fill(1);
  return {
    input_ids: { shape, values: ids },
    token_type_ids: { shape, values: types },
    attention_mask: { shape, values: mask ? Int32Array.from(mask) : ones },
  };
}

/** The first example of a batch, without its padding. */
function firstRow(feed: Feed): Feed {
  const { shape: [, seq], values } = feed.attention_mask!;
  const length = values.subarray(0, seq).filter((it) => it === 1).length;
  return Object.fromEntries(
    Object.entries(feed).map(([name, { values }]) => [
      name,
      { shape: [1, length], values: values.slice(0, length) },
    ]),
  );
}

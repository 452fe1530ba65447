/**
 * Every architecture in ONNX, beside the logits of transformers and PEFT
 * (fixtures/references.py).
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import similarity from "../../fixtures/references/similarity.json" with {
  type: "json",
};
import { lora } from "../../lib/engine/adapters/lora.ts";
import { mergeAdapter } from "../../lib/engine/adapters/registry.ts";
import type { Model } from "../../lib/engine/models/model.ts";
import {
  encoderTensors,
  storedTensors,
} from "../../lib/engine/models/parameters.ts";
import {
  type PoolingMode,
  withHiddenStates,
  withPooling,
} from "../../lib/engine/models/pooling.ts";
import { toModelNames } from "../../lib/peft/names.ts";
import { writeClassifierGraph } from "../../lib/onnx/classifier_graph.ts";
import {
  assertClose,
  openReference,
  referenceNames,
} from "../engine/reference.ts";
import { withFolder } from "../tasks/run_task.ts";
import { ONNX_PYTHON, onnxruntimeLogits } from "./peer.ts";
import {
  adapterOf,
  alpha,
  batchFeed,
  cut,
  headOf,
  modulesOf,
  referenceCases,
  scales,
  TOLERANCE,
  writeServed,
} from "./reference_cases.ts";

for (const name of referenceNames) {
  const reference = openReference(name);
  const { model, figures } = reference;

  Deno.test({
    name:
      `one session gives the logits of transformers and PEFT for every adapter, rank, batch and length, ${name}`,
    ignore: ONNX_PYTHON === undefined,
    fn: () =>
      withFolder(async (folder) => {
        const path = join(folder, "model.onnx");
        writeServed(path, reference);
        const cases = referenceCases(reference);
        const feeds = cases.map(({ feed }) => feed);
        const [logits] = await onnxruntimeLogits([{ path, feeds }]);
        for (const [i, { what, expected }] of cases.entries()) {
          assertClose(logits![i]!, expected, TOLERANCE, what);
        }
      }),
  });

  Deno.test({
    name:
      `a merged model gives PEFT's logits, and it and one for every rank nearly so in fewer bits, ${name}`,
    ignore: ONNX_PYTHON === undefined,
    fn: () =>
      withFolder(async (folder) => {
        const adapter = adapterOf(reference);
        const tensors = mergeAdapter(
          lora,
          encoderTensors(reference.file, model),
          toModelNames(cut(adapter, 3), model),
          alpha / 3,
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
        const modules = modulesOf(reference);
        const served = (["fp16", "q8"] as const).map((precision) => {
          const path = join(folder, `served-${precision}.onnx`);
          writeServed(path, reference, precision);
          const inputs = { ...cut(adapter, 3), ...scales(modules, 3, 3) };
          return { path, feeds: [{ ...feeds[0]!, ...inputs }] };
        });
        const [fp32, fp16, q8, servedFp16, servedQ8] = await onnxruntimeLogits([
          ...models,
          ...served,
        ]);
        const expected = figures.floats("lora.logits.rank3");
        const range = Math.max(...expected) - Math.min(...expected);
        assertClose(fp32![0]!, expected, TOLERANCE, "fp32");
        assertClose(fp16![0]!, expected, 0.02 * range, "fp16");
        assertClose(q8![0]!, expected, 0.2 * range, "q8");
        const [half16, quarter8] = [servedFp16![0]!, servedQ8![0]!];
        assertClose(half16, expected, 0.02 * range, "fp16 for every rank");
        assertClose(quarter8, expected, 0.2 * range, "q8 for every rank");
        const [size, half, quarter] = models.map(({ path }) =>
          Deno.statSync(path).size
        );
        assert(half! < size! && quarter! < size!);
      }),
  });
}

const { ids, mask, embeddings } = similarity.pooling;

for (const [folder, byMode] of Object.entries(embeddings)) {
  Deno.test({
    name:
      `a graph of a sentence encoder gives the embeddings of sentence-transformers, or the states of the tokens, ${folder}`,
    ignore: ONNX_PYTHON === undefined,
    fn: () =>
      withFolder(async (temporary) => {
        const { model, file } = openReference(folder.replace("tiny-", ""));
        const { read } = storedTensors(file, model);
        const shape = [ids.length, ids[0]!.length];
        const feed = {
          input_ids: { shape, values: Int32Array.from(ids.flat()) },
          token_type_ids: { shape, values: new Int32Array(ids.flat().length) },
          attention_mask: { shape, values: Int32Array.from(mask.flat()) },
        };
        const write = (
          name: string,
          model: Model,
          output: "sentence_embedding" | "last_hidden_state",
        ) => {
          const path = join(temporary, `${name}.onnx`);
          writeClassifierGraph(path, { model, head: 1, output, read });
          return { path, feeds: [feed] };
        };
        const modes = Object.entries(byMode);
        const [states, ...pooled] = await onnxruntimeLogits([
          write("states", withHiddenStates(model), "last_hidden_state"),
          ...modes.map(([mode]) =>
            write(
              mode,
              withPooling(model, mode as PoolingMode),
              "sentence_embedding",
            )
          ),
        ]);
        for (const [i, [mode, expected]] of modes.entries()) {
          assertClose(pooled[i]![0]!, expected.flat(), 1e-5, mode);
        }
        const { hidden } = model;
        const firstTokens = mask.flatMap((row, i) => {
          const start = i * row.length * hidden;
          return states![0]!.slice(start, start + hidden);
        });
        assertClose(firstTokens, byMode.cls.flat(), 1e-5, "states");
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
      const { read } = storedTensors(file, model);
      writeClassifierGraph(path, { model, head, read }, 1000);
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

/** The module for users in Deno, with onnxruntime-web on WebAssembly, beside the engine. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "../engine/engine.ts";
import { type Adapter, writeAdapter } from "../../lib/peft/adapter.ts";
import { readModel } from "../../lib/artifacts/model.ts";
import type { AdapterTensors } from "../../lib/engine/adapters/adapter.ts";
import { loadClassifier } from "../../lib/engine/models/classifier.ts";
import { positionsOf } from "../../lib/engine/models/model.ts";
import { fromTensors } from "../../lib/engine/models/parameters.ts";
import { PEFT_PREFIX } from "../../lib/peft/names.ts";
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";
import { type Answer, type Input, load } from "../../lib/serve/classifier.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import exportOnnx from "../../tasks/export-onnx.ts";
import { logitsAt, ranksAt } from "../engine/logits.ts";
import { assertClose, fixture, tinyEncoders } from "../engine/reference.ts";
import { randomAdapter } from "../tasks/random_adapter.ts";
import { REFERENCE_TRAINING } from "../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const LABELS = ["bad", "good", "so-so"];
const { rank: maxRank, alpha } = REFERENCE_TRAINING;
const MAX_LENGTH = 24;
/** Of different lengths, one of them longer than 24 tokens of any model. */
const TEXTS: readonly Input[] = [
  "It rained, and nobody came to see it!",
  "A film that stays.",
  { text: "Who wrote it?", pair: "It was written by a friend of the band." },
  "word ".repeat(50),
];

for (const name of tinyEncoders) {
  Deno.test(`load() classifies texts and pairs as the engine does, at every rank and with two adapters on one session, ${name}`, () =>
    withFolder(async (folder) => {
      const model = fixture(`tiny-${name}`);
      const three = await served(folder, model, LABELS);
      const two = await served(folder, model, LABELS.slice(0, 2));
      const classify = await load(three.output, { rank: 2 });
      assertEquals(classify.labels, LABELS);
      assertEquals(classify.ranks, [1, 2, 3, 4]);
      const expected = await engineShares(model, three.tensors, 3);
      for (const [i, rank] of classify.ranks.entries()) {
        const answers = await classify(TEXTS, { rank, batchSize: 3 });
        assertClose(sharesOf(answers), expected[i]!, 1e-4, `rank ${rank}`);
      }
      const preset = sharesOf(await classify(TEXTS));
      assertClose(preset, expected[1]!, 1e-4, "the rank of load()");
      const other = await classify.with(two.output, { rank: 4 });
      assertClose(
        sharesOf(await other(TEXTS)),
        (await engineShares(model, two.tensors, 2))[3]!,
        1e-4,
        "another adapter",
      );
      await classify.release();
    }));
}

Deno.test("load() gives each rank its own head, as the engine does", () =>
  withFolder(async (folder) => {
    const model = fixture("tiny-roberta");
    const last = "base_model.model.classifier.out_proj";
    const headOf = (rank: number, tensors: AdapterTensors) => {
      const weight = tensors[`${last}.weight`]!;
      const values = weight.values as Float32Array;
      return {
        [`${last}.weight`]: {
          shape: weight.shape,
          values: values.map((it, i) => it + i % rank),
        },
        [`${last}.bias`]: tensors[`${last}.bias`]!,
      };
    };
    const { output, tensors } = await served(folder, model, LABELS, {
      heads: (tensors) =>
        new Map([2, 4].map((rank) => [rank, headOf(rank, tensors)])),
    });
    const classify = await load(output);
    assertEquals(classify.ranks, [2, 4]);
    for (const rank of classify.ranks) {
      const own = { ...tensors, ...headOf(rank, tensors) };
      const expected = await engineShares(model, own, 3);
      const answers = sharesOf(await classify(TEXTS, { rank }));
      assertClose(answers, expected[rank - 1]!, 1e-4, `rank ${rank}`);
    }
    await assertRejects(
      () => classify(["A"], { rank: 1 }),
      RangeError,
      "Rank 1 is not one that the adapter serves: 2, 4",
    );
    await classify.release();
  }));

Deno.test("load() predicts the value of a regression", () =>
  withFolder(async (folder) => {
    const { output } = await served(folder, fixture("tiny-bert"), null);
    const classify = await load(output);
    assertEquals(classify.labels, null);
    const [answer] = await classify(["A film that stays."]);
    assertEquals(answer!.label, undefined);
    assert(Number.isFinite(answer!.score));
    await classify.release();
  }));

Deno.test("load() and its function say what is wrong with what they are given", () =>
  withFolder(async (folder) => {
    const roberta = fixture("tiny-roberta");
    const { output, tensors } = await served(folder, roberta, LABELS);
    const bert = await served(folder, fixture("tiny-bert"), LABELS);
    const classify = await load(output);
    const fails = async (work: () => Promise<unknown>, message: RegExp) => {
      const error = await assertRejects(work, Error);
      assert(message.test(error.message), error.message);
    };
    await fails(
      () => classify.with(bert.output),
      /^The adapter in "file:.*" was trained on another model than that in "file:.*": export it with its own$/,
    );
    await fails(
      () => classify(["A"], { rank: 5 }),
      /^Rank 5 is not one that the adapter serves: 1 to 4$/,
    );
    await fails(() => load(output, { rank: 0 }), /^Rank 0 is not one/);
    await fails(
      () => classify(["A", "a".repeat(100_000)]),
      /^Text 2 has 100000 characters, and at most 50000 are taken: cut it/,
    );
    await fails(
      () => classify("A" as unknown as string[]),
      /^Expected a list of texts, as in classify\(\[text\]\)$/,
    );
    await fails(
      () => classify([7 as unknown as string]),
      /^Text 1 is neither a string nor \{ text, pair \}$/,
    );
    await fails(
      () => load(join(folder, "missing")),
      /^Cannot read "file:.*missing\/model\.json": .*; expected a folder that "deno task export/,
    );
    const wide = await served(folder, roberta, LABELS, {
      targets: ["query", "key"],
    });
    await fails(
      () => classify.with(wide.output),
      /has "base_model.*key\.lora_A\.weight", for which the model in ".*" has no input: export the model with "targetModules"/,
    );
    const file = join(wide.output, "adapter.safetensors");
    const [name] = Object.keys(tensors).filter((it) => it.includes(".lora_A."));
    const narrow = { shape: [maxRank, 3], values: new Float32Array(12) };
    writeSafetensors(file, { ...tensors, [name!]: narrow });
    await fails(
      () => classify.with(wide.output),
      /^The adapter in "file:.*" has ".*lora_A\.weight" of shape \[4,3\], and the model in "file:.*" takes \[rank of .*query,64\]$/,
    );
    const factors = Object.entries(tensors)
      .filter(([name]) => name.includes(".lora_"));
    writeSafetensors(file, Object.fromEntries(factors));
    await fails(
      () => classify.with(wide.output),
      /^The adapter in "file:.*" has no "base_model\.model\.classifier\./,
    );
    const info = join(wide.output, "adapter.json");
    const text = await Deno.readTextFile(info);
    await Deno.writeTextFile(info, text.replace('"problem"', '"other"'));
    await fails(
      () => load(wide.output),
      /^"adapter.json" in "file:.*" names no problem: export it again$/,
    );
    await Deno.writeTextFile(info, text);
    await Deno.writeFile(file, (await Deno.readFile(file)).slice(0, 100));
    await fails(
      () => load(wide.output),
      /adapter\.safetensors" is damaged: export it again$/,
    );
    await classify.release();
  }));

/** Exports a model with a random adapter; gives its folder and tensors. */
async function served(
  folder: string,
  model: string,
  labels: readonly string[] | null,
  { targets = [...readModel(model).architecture.targetModules], heads }: {
    readonly targets?: string[];
    readonly heads?: (
      tensors: AdapterTensors,
    ) => NonNullable<Adapter["heads"]>;
  } = {},
) {
  const adapter = await Deno.makeTempDir({ dir: folder });
  const tensors = randomAdapter(model, maxRank, targets, labels?.length ?? 1);
  const own = heads?.(tensors);
  await writeAdapter(adapter, {
    baseModel: { name: "org/tiny", revision: null },
    training: {
      ...REFERENCE_TRAINING,
      problem: labels === null ? "regression" : "classification",
      labels: labels && [...labels],
      maxLength: MAX_LENGTH,
      targetModules: targets,
      ...own && {
        heads: {
          of: "0".repeat(64),
          examples: 10,
          flops: 1,
          ranks: [...own.keys()].map((rank) => ({
            rank,
            pull: 1,
            heldOut: { given: 1, fitted: 1 },
          })),
        },
      },
    },
    tensors,
    heads: own,
  });
  const { output } = await runTask(exportOnnx, folder, {}, { model, adapter });
  return { output, tensors };
}

function sharesOf(answers: readonly Answer[]): number[] {
  return answers.flatMap(({ scores }) => Object.values(scores));
}

/** Probabilities of the texts by the engine: for each rank, of each text and class. */
async function engineShares(
  folder: string,
  adapter: AdapterTensors,
  labels: number,
): Promise<number[][]> {
  const model = readModel(folder);
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const classifier = loadClassifier(file, model, labels, { rank: maxRank });
  const values = fromTensors(
    (name) => adapter[name]!.values as Float32Array,
    classifier.layout,
    PEFT_PREFIX,
  );
  const tokenizer = await ModelTokenizer.load(
    folder,
    tokenizerDefaults(model.architecture),
    MAX_LENGTH,
  );
  const ranks = Array.from({ length: maxRank }, (_, i) => i + 1);
  const shares: number[][] = ranks.map(() => []);
  for (const input of TEXTS) {
    const { ids, types } = typeof input === "string"
      ? tokenizer.encode(input)
      : tokenizer.encode(input.text, input.pair);
    const tensor = (values: ArrayLike<number>) =>
      tf.tensor2d(Int32Array.from(values), [1, ids.length], "int32");
    const logits = await logitsAt(
      classifier,
      values,
      {
        ids: tensor(ids),
        types: tensor(types),
        positions: tensor(
          positionsOf(model, Int32Array.from(ids), ids.length),
        ),
        mask: undefined,
      },
      ranksAt(ranks, alpha, maxRank),
    );
    for (const i of ranks.keys()) {
      const own = logits.subarray(i * labels, (i + 1) * labels);
      const exps = Array.from(own, Math.exp);
      const sum = exps.reduce((sum, it) => sum + it);
      shares[i]!.push(...exps.map((it) => it / sum));
    }
  }
  return shares;
}

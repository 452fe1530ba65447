import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import {
  type Adapter,
  readAdapter,
  readTensors,
  tensorsAt,
  writeAdapter,
} from "../../lib/peft/adapter.ts";
import { readTokens, readTokensInfo } from "../../lib/artifacts/tokens.ts";
import { servedRanks, type Training } from "../../lib/artifacts/training.ts";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";
import { seededRandom, shuffle } from "../../lib/engine/random.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import tokenize from "../../tasks/tokenize.ts";
import { assertClose, assertSameBits, fixture } from "../engine/reference.ts";
import { type EngineStages, withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";
import { randomAdapter, randomAdapterFolder } from "./random_adapter.ts";
import {
  REFERENCE_LORA,
  REFERENCE_TRAINING,
  referenceAdapter,
} from "./reference_adapter.ts";
import { runTask } from "./run_task.ts";

const F32 = { precision: "f32" };
const LAST = "base_model.model.classifier.out_proj.weight";

/** An adapter of random values for RTE, and the same with fitted heads. */
async function fitted(
  { folder, given, run }: EngineStages,
  training: Training = { ...REFERENCE_TRAINING, task: "rte" },
) {
  const adapter = await randomAdapterFolder(folder, given.model, training);
  return { adapter, heads: await run("fit-heads", F32, { ...given, adapter }) };
}

/** The adapter with the head of one rank as the head of all. */
async function withHeadOf(folder: string, rank: number, adapter: Adapter) {
  const { heads: _1, training: { heads: _2, ...training }, ...rest } = adapter;
  const own = await Deno.makeTempDir({ dir: folder });
  const tensors = { ...adapter.tensors, ...adapter.heads!.get(rank) };
  await writeAdapter(own, { ...rest, training, tensors });
  return own;
}

Deno.test("fit-heads gives each rank a head that says more of what the adapter's own rank says, and evaluate-ranks scores them in one pass as each alone", () =>
  withEngineStages(async (stages) => {
    const { folder, given } = stages;
    const { adapter, heads } = await fitted(stages);
    const read = await readAdapter(heads);
    const { training } = read;
    assertEquals(servedRanks(training), [1, 2, 4]);
    assertSameBits(read.tensors, (await readAdapter(adapter)).tensors);
    assertEquals(training.heads!.examples, 64);
    const [one, two, own] = training.heads!.ranks;
    for (const { pull, heldOut } of [one!, two!]) {
      assert(pull !== null && heldOut!.fitted < heldOut!.given);
    }
    // The adapter's own rank is what the others are fitted to.
    assertEquals(own, { rank: 4, pull: null });
    const together = await logitsByRank(
      stages,
      { ...given, adapter: heads },
      F32,
    );
    const trained = await logitsByRank(stages, { ...given, adapter }, F32);
    assertEquals([...together.keys()], [1, 2, 4]);
    for (const [rank, logits] of together) {
      if (rank < 4) assertNotEquals(logits, trained.get(rank));
      const alone = await withHeadOf(folder, rank, read);
      const expected = await logitsByRank(
        stages,
        { ...given, adapter: alone },
        { ...F32, ranks: [rank] },
      );
      assertClose(logits, expected.get(rank)!, 1e-5, `rank ${rank}`);
    }
  }));

Deno.test("fit-heads gives the same bytes again", () =>
  withEngineStages(async (stages) => {
    const { adapter, heads } = await fitted(stages);
    const again = await stages.run("fit-heads", F32, {
      ...stages.given,
      adapter,
    });
    for (const name of ["training.json", "heads.safetensors"]) {
      assertEquals(
        await Deno.readFile(join(again, name)),
        await Deno.readFile(join(heads, name)),
      );
    }
  }));

Deno.test("fit-heads fits a regression", () =>
  withEngineStages(async ({ folder, given: { model }, run }) => {
    const { output: data } = await runTask(fetchGlue, folder, {
      task: "stsb",
      source: fixture("tiny-glue"),
      limit: { train: 64, validation: 32 },
    });
    const { output: tokens } = await runTask(tokenize, folder, {}, {
      model,
      data,
    });
    const adapter = await randomAdapterFolder(folder, model, {
      task: "stsb",
      problem: "regression",
      labels: null,
    });
    const given = { model, tokens, adapter };
    const heads = await run("fit-heads", { ...F32, ranks: [1, 3] }, given);
    const { training } = await readAdapter(heads);
    assertEquals(training.heads!.ranks.map(({ rank }) => rank), [1, 3]);
    for (const { heldOut } of training.heads!.ranks) {
      assert(heldOut!.fitted < heldOut!.given);
    }
  }));

Deno.test("an export, a merged model and predictions at a rank have the head of this rank", () =>
  withEngineStages(async (stages) => {
    const { given, run, folder } = stages;
    const { heads } = await fitted(stages);
    const read = await readAdapter(heads);
    const own = tensorsAt(2, read)[LAST]!;
    assertNotEquals(own, read.tensors[LAST]);
    const inputs = { model: given.model, adapter: heads };
    const exported = await run("export-adapter", { rank: 2 }, inputs);
    const tensors = readTensors(join(exported, "adapter_model.safetensors"));
    assertEquals(tensors[LAST], own);
    const merged = await run("merge", { rank: 2 }, inputs);
    assertEquals(
      readTensors(
        join(merged, "model.safetensors"),
      )["classifier.out_proj.weight"],
      own,
    );
    const texts = [{ text: "It rains.", pair: "Rain falls." }];
    const [ofRank, ofExport, ofOther] = await Promise.all(
      [
        [2, heads],
        [2, exported],
        [2, await withHeadOf(folder, 1, read)],
      ].map(async ([rank, adapter]) => {
        const result = await run("classify", { texts, rank, ...F32 }, {
          model: given.model,
          adapter: adapter as string,
        });
        const { texts: [first] } = JSON.parse(
          Deno.readTextFileSync(join(result, "classification.json")),
        );
        return Object.values(first.probabilities) as number[];
      }),
    );
    assertClose(ofRank!, ofExport!, 1e-6, "probabilities");
    assertNotEquals(ofRank, ofOther);
  }));

Deno.test("an adapter with a head for each rank refuses ranks without one, and other heads", () =>
  withEngineStages(async (stages) => {
    const { given, attempt, folder } = stages;
    const { heads } = await fitted(stages);
    const inputs = { ...given, adapter: heads };
    const { text } = await attempt("evaluate-ranks", { ranks: [3] }, inputs);
    assertEquals(
      text,
      'Rank 3 has no head of its own: choose one of the ranks 1, 2, 4, or fit one with "ranks" of the task "fit-heads"',
    );
    assertEquals(
      (await attempt("fit-heads", {}, inputs)).text,
      "The heads of this adapter are fitted already: connect the adapter that they were fitted to",
    );
    const other = await referenceAdapter(folder, REFERENCE_TRAINING);
    await Deno.copyFile(
      join(other, "adapter_model.safetensors"),
      join(heads, "heads.safetensors"),
    );
    const damaged = await attempt("evaluate-ranks", {}, inputs);
    assert(
      /heads\.safetensors" has "base_model\S+", which is of no rank of the adapter/
        .test(damaged.text),
      damaged.text,
    );
  }));

Deno.test("readAdapter() refuses a file of heads without a weight or a bias, with another shape, or with a value that is not finite", () =>
  withEngineStages(async (stages) => {
    const { heads: folder } = await fitted(stages);
    const path = join(folder, "heads.safetensors");
    const whole = readTensors(path);
    const names = Object.keys(whole);
    const weight = names.find((it) => /^2\..*weight$/.test(it))!;
    const bias = names.find((it) => /^2\..*bias$/.test(it))!;
    const without = (test: (name: string) => boolean) =>
      Object.fromEntries(
        Object.entries(whole).filter(([name]) => !test(name)),
      );
    const withValue = (value: number) => {
      const { shape, values } = whole[weight]!;
      return { ...whole, [weight]: { shape, values: values.with(3, value) } };
    };
    const faults = [
      [
        without((it) => it === weight),
        /has no "\S+weight" for rank 2 that fits/,
      ],
      [without((it) => it === bias), /has no "\S+bias" for rank 2 that fits/],
      [without((it) => it.endsWith("weight")), /has no "\S+weight" for rank 1/],
      [without((it) => it.endsWith("bias")), /has no "\S+bias" for rank 1/],
      [without((it) => it.startsWith("4.")), /has no "\S+weight" for rank 4/],
      [
        { ...whole, [weight]: { shape: [1], values: new Float32Array(1) } },
        /has no "\S+weight" for rank 2 that fits/,
      ],
      [{}, /has no last layer/],
      [withValue(NaN), /has the value NaN in "2\.\S+weight"/],
      [withValue(Infinity), /has the value Infinity in "2\.\S+weight"/],
      [withValue(-Infinity), /has the value -Infinity in "2\.\S+weight"/],
    ] as const;
    for (const [tensors, message] of faults) {
      writeSafetensors(path, tensors);
      const error = await assertRejects(() => readAdapter(folder), SyntaxError);
      assertMatch(error.message, message);
    }
    writeSafetensors(path, whole);
    assertEquals((await readAdapter(folder)).heads!.size, 3);
  }));

Deno.test("fit-heads leaves ranks above upTo, and an adapter of one rank, with the trained head", () =>
  withEngineStages(async (stages) => {
    const { given, run, folder } = stages;
    const { adapter } = await fitted(stages);
    const upTo = { ...F32, upTo: 1 };
    const heads = await run("fit-heads", upTo, { ...given, adapter });
    const { training, ...read } = await readAdapter(heads);
    assertEquals(
      training.heads!.ranks.map(({ rank, pull }) => [rank, pull === null]),
      [[1, false], [2, true], [4, true]],
    );
    assertEquals(tensorsAt(2, read)[LAST], read.tensors[LAST]);
    const lora = await referenceAdapter(folder, REFERENCE_LORA);
    const alone = await run("fit-heads", F32, { ...given, adapter: lora });
    const { heads: none } = (await readAdapter(alone)).training;
    assertEquals(none!.ranks, [{ rank: 4, pull: null }]);
    assertEquals(none!.flops, 0);
  }));

Deno.test("fit-heads fits the head of a LoRA to labels, of which rare ones count more if they did in training", () =>
  withEngineStages(async (stages) => {
    const { folder, given, run } = stages;
    const fit = async (training: Training) => {
      const adapter = await referenceAdapter(folder, training);
      const inputs = { ...given, adapter };
      const settings = { ...F32, target: "labels" };
      const read = await readAdapter(await run("fit-heads", settings, inputs));
      return {
        ...read.training.heads!,
        head: read.heads!.get(4)![LAST],
        inputs,
      };
    };
    const equal = await fit(REFERENCE_LORA);
    const classWeights = "balanced";
    const balanced = await fit({ ...REFERENCE_LORA, classWeights });
    for (const { examples, ranks: [own, ...others] } of [equal, balanced]) {
      assertEquals(examples, 64);
      assertEquals([own!.rank, ...others], [4]);
      assert(own!.heldOut!.fitted < own!.heldOut!.given);
    }
    assertNotEquals(equal.head, balanced.head);
    // The loss of the first fifth of the drawn texts by the trained head.
    const info = await readTokensInfo(given.tokens);
    const labels = readTokens(given.tokens, info, "train").labels!;
    const logits = (await logitsByRank(stages, equal.inputs, {
      ...F32,
      split: "train",
    })).get(4)!;
    const order = [...labels.keys()];
    shuffle(order, seededRandom(REFERENCE_LORA.seed, "heads"));
    const losses = order.slice(0, 12).map((i) => {
      const margin = logits[2 * i + 1]! - logits[2 * i]!;
      return Math.log1p(Math.exp(labels[i] === 0 ? margin : -margin));
    });
    const mean = losses.reduce((sum, it) => sum + it) / losses.length;
    assertClose([equal.ranks[0]!.heldOut!.given], [mean], 1e-5, "loss");
  }));

Deno.test("fit-heads reads at most 3000 texts for an imported adapter, of which it is unknown what its training has read", () =>
  withEngineStages(async ({ folder, given: { model }, run }) => {
    const rows = Array.from(
      { length: 3100 },
      (_, i) => `${i % 2 ? "good" : "bad"} ${i},${i % 2}`,
    );
    const train = join(folder, "rows.csv");
    await Deno.writeTextFile(train, ["text,label", ...rows, ""].join("\n"));
    const data = await run("fetch-data", { files: { train } });
    const tokens = await run("tokenize", {}, { model, data });
    const adapter = await Deno.makeTempDir({ dir: folder });
    const { method: _, ...training } = REFERENCE_TRAINING;
    const { task, problem, rank, alpha, targetModules, seed } = training;
    await writeAdapter(adapter, {
      baseModel: undefined,
      training: {
        ...{ task, problem, rank, alpha, targetModules, seed },
        labels: ["0", "1"],
        ...{ imported: true, method: { name: "dylora" }, reducedBy: null },
        ...{ scaling: "rank", maxLength: null, selection: null },
      },
      tensors: randomAdapter(model, rank),
    });
    const settings = { ...F32, ranks: [1] };
    const heads = await run("fit-heads", settings, { model, tokens, adapter });
    assertEquals((await readAdapter(heads)).training.heads!.examples, 3000);
  }));

Deno.test("fit-heads reads a twentieth of what the training has read, at least 300 texts", () =>
  withEngineStages(async ({ folder, given: { model }, run }) => {
    const limit = { train: 500, validation: 10 };
    const { output: data } = await runTask(fetchGlue, folder, {
      ...{ task: "sst2", source: fixture("tiny-glue"), limit },
    });
    const given = { model, data };
    const { output: tokens } = await runTask(tokenize, folder, {}, given);
    const settings = { ...F32, rank: 2, batchSize: 100 };
    for (const [epochs, texts] of [[1, 300], [16, 400], [40, 500]] as const) {
      const more = { epochs, learningRate: 1e-3 };
      const inputs = { model, tokens };
      const adapter = await run("train-lora", { ...settings, ...more }, inputs);
      const heads = await run("fit-heads", F32, { ...inputs, adapter });
      const { training } = await readAdapter(heads);
      assertEquals(training.heads!.examples, texts);
    }
  }));

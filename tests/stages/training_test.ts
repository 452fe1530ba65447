import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
} from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readScores } from "../../lib/artifacts/scores.ts";
import { readTokensInfo } from "../../lib/artifacts/tokens.ts";
import { PROGRAM } from "../../lib/cli/arguments/options.ts";
import { outWithCode } from "../cli/project.ts";
import { linesOf } from "../lines.ts";
import { progressReporter } from "../../lib/stages/training.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import {
  readTraining,
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../tasks/reference_adapter.ts";
import { withFolder } from "../tasks/run_task.ts";

Deno.test("train-dylora saves the epoch with the best mean over its ranks, and evaluate-ranks scores it as recorded", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const common = { rank: 4, epochs: 3, learningRate: 1e-2, batchSize: 8 };
    const params = { ...common, sampler: { kind: "list", ranks: [2, 3, 4] } };
    const selected = await run("train-dylora", {
      ...params,
      selectOn: "validation",
    }, given);
    const { selection, ...training } = await readTraining(selected);
    const tokens = await readTokensInfo(given.tokens);
    assertEquals(training.maxLength, tokens.maxLength);
    const { epochs, best, metric, split, examples } = selection!;
    assertEquals([metric, split, examples], ["accuracy", "validation", 32]);
    assertEquals(epochs.map(({ epoch, step }) => [epoch, step]), [
      [1, 8],
      [2, 16],
      [3, 24],
    ]);
    for (const { score, ranks } of epochs) {
      assertEquals(ranks.map(({ rank }) => rank), [2, 3, 4]);
      const mean = ranks.reduce((sum, it) => sum + it.metrics.accuracy!, 0) / 3;
      assertAlmostEquals(score, mean, 1e-12);
    }
    const highest = Math.max(...epochs.map(({ score }) => score));
    assertEquals(best, epochs.find(({ score }) => score === highest)!.epoch);

    for (const [epoch, number] of [["last", 3], ["best", best]] as const) {
      const scored = await run("evaluate-ranks", { epoch }, {
        ...given,
        adapter: selected,
      });
      const info = await readScores(scored);
      assertEquals(info.epoch, epoch);
      assertEquals(info.ranks, epochs[number - 1]!.ranks);
      // One evaluation at all ranks for each epoch.
      assertEquals(selection!.flops, epochs.length * info.flops);
    }

    const plain = await run("train-dylora", params, given);
    assertEquals(await readTraining(plain), {
      ...training,
      selection: null,
    });
    const weights = (folder: string) =>
      Deno.readFile(join(folder, "adapter_model.safetensors"));
    assertEquals(await weights(plain), await weights(selected));

    const balanced = { ...params, classWeights: "balanced" };
    const { text } = await attempt("train-dylora", balanced, given);
    assertMatch(text, /^Class weights: "\w+" \d\.\d{3}, "\w+" \d\.\d{3}$/m);
    const weighted = await run("train-dylora", balanced, given);
    assertEquals((await readTraining(weighted)).classWeights, "balanced");
    assertNotEquals(await weights(weighted), await weights(plain));

    const missing = await attempt("train-lora", {
      ...common,
      selectOn: "held_out",
    }, given);
    assertEquals(missing.code, 1);
    assertMatch(missing.text, /have no split .*held_out/);
    const refused = await attempt("predict", { epoch: "best" }, {
      ...given,
      adapter: plain,
    });
    assertEquals(refused.code, 1);
    assertMatch(
      refused.text,
      /has no best epoch: train it with .*selectOn: validation/,
    );
  }));

Deno.test("evaluate-ranks rejects untrained ranks, and trainings and evaluations reject tokens of another tokenizer", () =>
  withEngineStages(async ({ folder, run, attempt, given }) => {
    const params = { rank: 4, epochs: 1, batchSize: 8 };
    const lora = await run("train-lora", params, given);
    const cut = await attempt("evaluate-ranks", { ranks: [2, 4] }, {
      ...given,
      adapter: lora,
    });
    assertEquals(cut.code, 1);
    assertMatch(
      cut.text,
      /serves rank 4 only, not rank 2: reduce it with .*reduce-adapter/,
    );
    const sampler = { kind: "list", ranks: [2, 4] };
    const dylora = await run("train-dylora", { ...params, sampler }, given);
    const low = await attempt("evaluate-ranks", { ranks: [1] }, {
      ...given,
      adapter: dylora,
    });
    assertEquals(low.code, 1);
    assertMatch(
      low.text,
      /Rank 1 was not trained: the adapter serves ranks 2 to 4/,
    );

    const model = join(import.meta.dirname!, "../../fixtures/tiny-bert");
    const data = await run("fetch-glue", {
      task: "rte",
      source: join(import.meta.dirname!, "../../fixtures/tiny-glue"),
      limit: { train: 64, validation: 32 },
    });
    const tokens = await run("tokenize", {}, { model, data });
    const nested = await referenceAdapter(folder, REFERENCE_TRAINING);
    const foreign =
      /made by a different tokenizer than the model's: tokenize the data with this model/;
    for (
      const [task, params, inputs] of [
        ["train-lora", { rank: 4 }, {}],
        ["train-head", {}, {}],
        ["evaluate-ranks", {}, { adapter: dylora }],
        ["predict", { split: "validation" }, { adapter: dylora }],
        ["choose-ranks", { averageRank: 2 }, { adapter: nested }],
      ] as const
    ) {
      const refused = await attempt(task, params, {
        model: given.model,
        tokens,
        ...inputs,
      });
      assertEquals(refused.code, 1, task);
      assertMatch(refused.text, foreign, task);
    }
  }));

const ROOT = fileURLToPath(import.meta.resolve("../.."));

/** Trains for a second also on a fast machine, so that a signal comes before the end. */
const PIPELINE = `name: interrupted
stages:
  model: { task: fetch-model, with: { source: ./fixtures/tiny-roberta } }
  data:
    task: fetch-glue
    with: { task: sst2, source: ./fixtures/tiny-glue, splits: [train], limit: { train: 640 } }
  tokens: { task: tokenize, inputs: { data: data, model: model } }
  train:
    task: train-dylora
    with: { rank: 8, epochs: 8, batchSize: 32, learningRate: 5e-3 }
    inputs: { model: model, tokens: tokens }
    resources: { cpus: 2 }
`;

/** Calls a command on the pipeline, sending it a signal once its training has taken some steps. */
async function call(
  out: string,
  args: readonly string[],
  signal?: Deno.Signal,
) {
  const process = new Deno.Command(Deno.execPath(), {
    args: [...PROGRAM, ...args, "--json", "--out", out],
    cwd: ROOT,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const events = [];
  let sent = false;
  for await (const line of linesOf(process.stdout)) {
    const event = JSON.parse(line);
    events.push(event);
    if (signal === undefined || sent || event.stage !== "train") continue;
    if (event.type === "progress" && event.done > 2) {
      sent = true;
      process.kill(signal);
    }
  }
  return { code: (await process.status).code, events };
}

/** The first step that a call reported of the training. */
function firstStep({ events }: Awaited<ReturnType<typeof call>>): number {
  return events.find(({ type, stage }) =>
    type === "progress" && stage === "train"
  ).done;
}

Deno.test("a training that was interrupted and killed ends with the same bytes as an uninterrupted one", async () => {
  await withFolder(async (folder) => {
    const file = `${folder}/interrupted.yaml`;
    await Deno.writeTextFile(file, PIPELINE);
    const out = await outWithCode();
    const stopped = await call(out, ["pipeline", file], "SIGINT");
    assertEquals(stopped.code, 130, JSON.stringify(stopped.events));
    const killed = await call(out, ["pipeline", file], "SIGKILL");
    assertEquals(killed.code, 137, JSON.stringify(killed.events));
    assert(firstStep(killed) > 1, `goes on from ${firstStep(killed)}`);
    const resumed = await call(out, ["pipeline", file]);
    assertEquals(resumed.code, 0, JSON.stringify(resumed.events));
    assert(firstStep(resumed) > 1, `goes on from ${firstStep(resumed)}`);
    // Runs it again from the start, and compares.
    const again = await call(out, ["verify", file, "train"]);
    assertEquals(again.code, 0, JSON.stringify(again.events.at(-1)));
  });
});

Deno.test("a training with a damaged checkpoint starts from the first step and says so", () =>
  withEngineStages(async ({ folder, attempt, given }) => {
    const checkpoint = await Deno.makeTempDir({ dir: folder });
    const params = { rank: 2, epochs: 2, batchSize: 8 };
    const interrupt = new AbortController();
    const { signal } = interrupt;
    const progress = (step: number) =>
      step > 2 && interrupt.abort(new Error("Interrupted"));
    const stopped = await attempt("train-lora", params, given, {
      checkpoint,
      signal,
      progress,
    });
    assertEquals(stopped, { code: 1, text: "Interrupted" });
    const path = join(checkpoint, "training.safetensors");
    const bytes = await Deno.readFile(path);
    bytes[bytes.length >> 1]! ^= 1;
    await Deno.writeFile(path, bytes);
    const steps: number[] = [];
    const { code, text } = await attempt("train-lora", params, given, {
      checkpoint,
      progress: (step) => steps.push(step),
    });
    assertEquals(code, 0, text);
    assertEquals(steps[0], 0);
    assertMatch(text, /^Starting .*, since the checkpoint is damaged/m);
  }));

Deno.test("progressReporter() gives the speed of the products, and names the ranks of a step", () => {
  const lines: string[] = [];
  const { report } = progressReporter({
    log: (line) => lines.push(line),
    metric: () => {},
    progress: () => {},
  });
  const given = {
    steps: 30,
    loss: 0.5,
    learningRate: 1e-3,
    ranks: [3],
    msPerStep: 100,
    tokensPerSecond: 1000,
  };
  report({ ...given, step: 10, flopsPerSecond: 50e9 });
  report({ ...given, ranks: [8, 8], step: 20, flopsPerSecond: 200e9 });
  report({ ...given, ranks: [5, 2, 8, 3], step: 30, flopsPerSecond: 50e9 });
  const speeds = lines.map((line) => /(\d+) GFLOPS/.exec(line)![1]);
  assertEquals(speeds, ["50", "200", "50"]);
  const ranks = lines.map((line) => /ranks? .*?(?= {2})/.exec(line)![0]);
  assertEquals(ranks, ["rank 3", "rank 8", "ranks 2 to 8"]);
});

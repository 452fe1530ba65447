import assert from "node:assert/strict";
import { join } from "node:path";
import { runSandboxed } from "./run_sandboxed.ts";
import { EXAMPLES, TrainedStages } from "./trained_stages.ts";

Deno.test("report compares scores and sums the measured times of both sweeps", async () => {
  await inFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    for (const seed of [0, 1]) {
      await stages.train("dylora", [1, 2, 4], seed, {
        training: 40 + 2 * seed,
        evaluation: 6,
        step: 0.25,
      });
      for (const rank of [1, 4]) {
        await stages.train("lora", [rank], seed, {
          training: 40 + rank + seed,
          evaluation: 2,
          step: 0.2,
        });
      }
    }
    const { json, markdown } = await stages.report();
    const [comparison] = json.comparisons;
    const [dylora, lora] = comparison!.methods;

    assert.deepEqual(dylora!.ranks.map(({ rank }) => rank), [1, 2, 4]);
    assert.deepEqual(lora!.ranks.map(({ rank }) => rank), [1, 4]);
    const { values, mean, median, deviation } = dylora!.ranks[1]!.metrics
      .accuracy!;
    const [a, b] = [0, 1].map((seed) => stages.accuracy("dylora", 2, seed));
    assert.deepEqual(values, [a, b]);
    assert.equal(mean, (a! + b!) / 2);
    assert.equal(median, (a! + b!) / 2);
    // Of two values: their distance divided by the square root of two.
    assert(Math.abs(deviation! - Math.abs(a! - b!) / Math.SQRT2) < 1e-12);
    for (const { metrics, interval } of dylora!.ranks) {
      assert(interval![0] <= metrics.accuracy!.mean!);
      assert(interval![1] >= metrics.accuracy!.mean!);
    }

    assert.deepEqual(dylora!.cost, {
      ranks: [1, 2, 4],
      trainings: 1,
      stepSeconds: 0.25,
      steps: 100,
      examples: 3200,
      trainingSeconds: 41,
      evaluationSeconds: 6,
      sweepSeconds: 47,
    });
    assert.deepEqual(lora!.cost, {
      ranks: [1, 4],
      trainings: 2,
      stepSeconds: 0.2,
      steps: 200,
      examples: 6400,
      trainingSeconds: 41.5 + 44.5,
      evaluationSeconds: 4,
      sweepSeconds: 90,
    });
    const [contrast] = comparison!.contrasts;
    assert.deepEqual(contrast!.speedUp, {
      training: 86 / 41,
      sweep: 90 / 47,
      examples: 2,
    });
    assert.deepEqual(contrast!.ranks.map(({ rank }) => rank), [1, 4]);

    assert.match(markdown, /^\| 2 \| .* \| not run \| not run \| {2}\|$/m);
    assert.match(
      markdown,
      /Speed-up 1\.91x\*\*: the sweep of LoRA over ranks 1, 4 took 1\.91x the time of DyLoRA for ranks 1, 2, 4/,
    );
    assert.match(markdown, /408\.39 s/);
  });
});

Deno.test("report gives the same bytes each time", async () => {
  await inFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    assert.deepEqual(await stages.report(), await stages.report());
  });
});

Deno.test("report writes its page and figures with a stage's permissions", async () => {
  await inFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2, 4], 0);
    await stages.train("lora", [4], 0);
    const result = await runSandboxed(
      "report",
      folder,
      { replicates: 100 },
      { inputs: stages.inputs },
    );
    assert.equal(result.code, 0, result.text);
    assert.deepEqual(
      [...Deno.readDirSync(result.output)].map(({ name }) => name).sort(),
      ["mrpc-validation.svg", "report.html", "report.json", "report.md"],
    );
    const read = (name: string) =>
      Deno.readTextFileSync(join(result.output, name));
    const svg = read("mrpc-validation.svg");
    assert(read("report.html").includes(svg));
    assert.match(read("report.md"), /\(mrpc-validation\.svg\)/);
    // A point for each score: three of DyLoRA, one of LoRA.
    assert.equal(svg.match(/aria-roledescription="point"/g)?.length, 4);
  });
});

Deno.test("report does without baselines, and then claims no speed-up", async () => {
  await inFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2, 3, 4], 0);
    const { json, markdown } = await stages.report();
    assert.deepEqual(json.comparisons[0]!.contrasts, []);
    assert.equal(
      json.comparisons[0]!.methods[0]!.ranks[0]!.metrics.accuracy!.deviation,
      null,
    );
    assert.doesNotMatch(markdown, /Speed-up|408/);
    assert.match(markdown, /Recommended rank of DyLoRA: \d/);
    assert.match(markdown, /One seed/);
  });
});

Deno.test("report tells variants of a method apart by their matrix values", async () => {
  await inFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0, {}, { mode: "all" });
    await stages.train("dylora", [1, 2], 0, {}, { mode: "frozen" });
    const { markdown } = await stages.report();
    assert.match(markdown, /DyLoRA \(mode=all\), accuracy/);
    assert.match(markdown, /DyLoRA \(mode=frozen\), accuracy/);
  });
});

Deno.test("report refuses scores without the training behind them", async () => {
  await inFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    await stages.train("dylora", [1, 2], 1);
    stages.inputs.dyloraAdapters!.pop();
    await assert.rejects(
      stages.report(),
      /one adapter with the matrix values of "evaluate@mrpc,seed=1", found none/,
    );
  });
});

Deno.test("report refuses a training that reported no seconds", async () => {
  await inFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    const adapters = stages.inputs.dyloraAdapters!;
    adapters[0] = { ...adapters[0]!, metrics: {} };
    await assert.rejects(stages.report(), /reported no "training_seconds"/);
  });
});

Deno.test("report refuses scores of different examples", async () => {
  await inFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1], 0);
    await stages.train("lora", [1], 0);
    const path = stages.inputs.lora![0]!.path;
    await stages.writeScores(path, "lora", [1], 0, EXAMPLES - 1);
    await assert.rejects(stages.report(), /not of the same examples/);
  });
});

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    await use(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

import assert from "node:assert/strict";
import { join } from "node:path";
import { METRICS } from "../../lib/glue/metrics.ts";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import { Report } from "../../lib/report/report.ts";
import { writeScores } from "../../tasks/artifacts/scores.ts";
import { STEP_SECONDS } from "../../tasks/artifacts/training.ts";
import report from "../../tasks/report.ts";
import { runSandboxed } from "./run_sandboxed.ts";

const EXAMPLES = 60;
const LABELS = ["not_equivalent", "equivalent"];

Deno.test("report compares scores and sums the measured times of both sweeps", async () => {
  await inFolder(async (folder) => {
    const stages = new Stages(folder);
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
    const stages = new Stages(folder);
    await stages.train("dylora", [1, 2], 0);
    assert.deepEqual(await stages.report(), await stages.report());
  });
});

Deno.test("report writes its page and figures with a stage's permissions", async () => {
  await inFolder(async (folder) => {
    const stages = new Stages(folder);
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
    const stages = new Stages(folder);
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
    const stages = new Stages(folder);
    await stages.train("dylora", [1, 2], 0, {}, { mode: "all" });
    await stages.train("dylora", [1, 2], 0, {}, { mode: "frozen" });
    const { markdown } = await stages.report();
    assert.match(markdown, /DyLoRA \(mode=all\), accuracy/);
    assert.match(markdown, /DyLoRA \(mode=frozen\), accuracy/);
  });
});

Deno.test("report refuses scores without the training behind them", async () => {
  await inFolder(async (folder) => {
    const stages = new Stages(folder);
    await stages.train("dylora", [1, 2], 0);
    await stages.train("dylora", [1, 2], 1);
    stages.inputs.dyloraAdapters!.pop();
    await assert.rejects(
      stages.report(),
      /one adapter with the matrix values of "evaluate@mrpc,seed=1", found none/,
    );
  });
});

Deno.test("report refuses a training that reported no seconds per step", async () => {
  await inFolder(async (folder) => {
    const stages = new Stages(folder);
    await stages.train("dylora", [1, 2], 0);
    const adapters = stages.inputs.dyloraAdapters!;
    adapters[0] = { ...adapters[0]!, metrics: {} };
    await assert.rejects(stages.report(), /reported no "step_seconds"/);
  });
});

Deno.test("report refuses scores of different examples", async () => {
  await inFolder(async (folder) => {
    const stages = new Stages(folder);
    await stages.train("dylora", [1], 0);
    await stages.train("lora", [1], 0);
    const path = stages.inputs.lora![0]!.path;
    await stages.writeScores(path, "lora", [1], 0, EXAMPLES - 1);
    await assert.rejects(stages.report(), /not of the same examples/);
  });
});

/** Artifacts as stages would leave them, and the report on them. */
class Stages {
  readonly inputs: Record<string, InputArtifact[]> = {
    dylora: [],
    dyloraAdapters: [],
    lora: [],
    loraAdapters: [],
  };
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Adds a training and its evaluation. */
  async train(
    method: "dylora" | "lora",
    ranks: readonly number[],
    seed: number,
    { training = 10, evaluation = 1, step = 0.1 } = {},
    matrix: Record<string, string> = {},
  ): Promise<void> {
    const place = {
      glue: "mrpc",
      seed,
      ...(method === "lora" && { rank: ranks[0]! }),
      ...matrix,
    };
    const suffix = Object.values(place).join("-");
    const adapter = join(this.#folder, `train-${method}-${suffix}`);
    const scores = join(this.#folder, `evaluate-${method}-${suffix}`);
    Deno.mkdirSync(adapter);
    Deno.mkdirSync(scores);
    Deno.writeTextFileSync(
      join(adapter, "training.json"),
      JSON.stringify({
        method,
        task: "mrpc",
        labels: LABELS,
        rank: Math.max(...ranks),
        alpha: 16,
        mode: method === "dylora" ? "all" : null,
        sampler: method === "dylora" ? { kind: "uniform" } : null,
        seed,
        epochs: 2,
        steps: 100,
        batchSize: 32,
        learningRate: 1e-3,
        weightDecay: 0.1,
        warmupRatio: 0.06,
        precision: "f32",
        engine: "tensorflow",
        examples: 3200,
        tokens: 64_000,
        losses: [],
      }),
    );
    await this.writeScores(scores, method, ranks, seed, EXAMPLES);
    this.inputs[`${method}Adapters`]!.push({
      stage: `train-${method}@mrpc,seed=${seed}`,
      matrix: place,
      path: adapter,
      seconds: training,
      metrics: { [STEP_SECONDS]: step },
    });
    this.inputs[method]!.push({
      stage: `evaluate@mrpc,seed=${seed}`,
      matrix: place,
      path: scores,
      seconds: evaluation,
      metrics: {},
    });
  }

  async writeScores(
    folder: string,
    method: string,
    ranks: readonly number[],
    seed: number,
    examples: number,
  ): Promise<void> {
    const labels = labelsOf(examples);
    await writeScores(
      folder,
      {
        task: "mrpc",
        labels: LABELS,
        method,
        seed,
        split: "validation",
        examples,
        ranks: ranks.map((rank) => {
          const predictions = predict(method, rank, seed, examples);
          return {
            rank,
            metrics: {
              accuracy: METRICS.accuracy(predictions, labels),
              f1: METRICS.f1(predictions, labels),
            },
          };
        }),
      },
      {
        labels,
        logits: Float32Array.from(
          ranks.flatMap((rank) =>
            [...predict(method, rank, seed, examples)].flatMap((label) =>
              label === 1 ? [-1, 1] : [1, -1]
            )
          ),
        ),
      },
    );
  }

  accuracy(method: string, rank: number, seed: number): number {
    return METRICS.accuracy(
      predict(method, rank, seed, EXAMPLES),
      labelsOf(EXAMPLES),
    );
  }

  /** Runs the task as a stage would. */
  async report(): Promise<{ json: Report; markdown: string }> {
    const output = Deno.makeTempDirSync({ dir: this.#folder });
    await report.run({
      params: report.params.parse({ replicates: 200 }),
      inputs: this.inputs,
      output,
      checkpoint: "",
      cpus: 1,
      facilities: {},
      signal: new AbortController().signal,
      progress: () => {},
      log: () => {},
      metric: () => {},
    });
    const json = Deno.readTextFileSync(join(output, "report.json"));
    return {
      json: Report.parse(JSON.parse(json)),
      markdown: Deno.readTextFileSync(join(output, "report.md")),
    };
  }
}

function labelsOf(examples: number): Float32Array {
  return Float32Array.from({ length: examples }, (_, i) => i % 3 === 0 ? 0 : 1);
}

/** Errs on some examples, on fewer at a higher rank. */
function predict(
  method: string,
  rank: number,
  seed: number,
  examples: number,
): Float32Array {
  const every = 3 + rank + seed + (method === "lora" ? 1 : 0);
  return labelsOf(examples).map((label, i) =>
    i % every === 1 ? 1 - label : label
  );
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    await use(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

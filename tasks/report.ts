import { scaleInWords } from "../lib/engine/methods/method.ts";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { outputsOf } from "../lib/artifacts/classes.ts";
import {
  type ClassifierTraining,
  readClassifierTraining,
} from "../lib/artifacts/classifier.ts";
import { digestOf, writeJsonFile } from "../lib/artifacts/json_file.ts";
import { readRanks } from "../lib/artifacts/ranks.ts";
import {
  readOutputs,
  readScores,
  type ScoresInfo,
} from "../lib/artifacts/scores.ts";
import {
  type AdapterRecord,
  readRecord,
  SELECTION_SECONDS,
  servedRanks,
  STEP_SECONDS,
  TRAINING_SECONDS,
} from "../lib/artifacts/training.ts";
import { methodNamed } from "../lib/engine/methods/registry.ts";
import { taskTitle } from "../lib/glue/benchmark.ts";
import { METRICS, predictionsOf } from "../lib/glue/metrics.ts";
import { defineTask, type InputArtifact } from "../lib/pipeline/task.ts";
import type {
  AdapterSize,
  ChoiceResult,
  RankResult,
  Result,
  TrainingCost,
  Variant,
} from "../lib/report/result.ts";
import type { Metric } from "../lib/report/statistics.ts";

export default defineTask({
  description:
    "Compare methods: scores by rank, costs and the recommended rank",
  params: z.strictObject({
    replicates: z.int().min(100).max(100_000).default(1000).describe(
      "Bootstrap replicates for intervals and recommendation",
    ),
    confidence: z.number().gt(0).lt(1).default(0.95).describe(
      "Confidence level of intervals and recommendation",
    ),
    margin: z.number().min(0).default(0.01).describe(
      "Non-inferiority margin: how far the recommended rank may score below the best one; 0.01 is one point",
    ),
  }),
  inputs: {
    scores: { kind: "scores", many: true },
    adapters: { kind: "adapter", many: true, optional: true },
    classifiers: { kind: "classifier", many: true, optional: true },
    /** Ranks per module of choose-ranks. */
    ranks: { kind: "ranks", many: true, optional: true },
  },
  output: {
    kind: "report",
    files: ["report.md", "report.html", "report.json"],
  },
  // Vega's runtime, which is part of the page. Its version is part of the key.
  permissions: { read: () => [dirname(vegaRuntime())] },
  timings: true,
  small: true,
  async run({ inputs, params, output }) {
    const { scores, adapters = [], classifiers = [], ranks = [] } = inputs;
    const trainings = [
      ...await readTrainings(adapters, readRecord),
      ...await readTrainings(classifiers, readClassifierTraining),
    ];
    const results = await Promise.all(
      scores!.map((artifact) => readResult(artifact, trainings)),
    );
    const choices = await Promise.all(ranks.map(readChoice));
    const { summarizeChoices } = await import("../lib/report/choices.ts");
    const { compare } = await import("../lib/report/compare.ts");
    const { renderFigures } = await import("../lib/report/figure.ts");
    const { renderMarkdown } = await import("../lib/report/markdown.ts");
    const { renderPage } = await import("../lib/report/page.ts");
    const { Report } = await import("../lib/report/report.ts");
    const { seededDraw } = await import("../lib/report/statistics.ts");
    const report = Report.parse({
      ...compare(results, {
        ...params,
        metric: metricNamed,
        draw: seededDraw(0),
      }),
      choices: summarizeChoices(choices),
    });
    const markdown = renderMarkdown(report);
    const figures = await renderFigures(report);
    const runtime = await Deno.readTextFile(vegaRuntime());
    await writeJsonFile(join(output, "report.json"), report);
    for (
      const [name, text] of [
        ["report.md", markdown],
        ["report.html", renderPage({ report, markdown, figures, runtime })],
        ...figures.map(({ name, svg }) => [name, svg] as const),
      ] as const
    ) {
      await Deno.writeTextFile(join(output, name), text);
    }
  },
});

/** File of Vega's runtime, a classic script. */
function vegaRuntime(): string {
  return fileURLToPath(
    new URL("vega.min.js", import.meta.resolve("vega")),
  );
}

function metricNamed(name: string): Metric {
  if (Object.hasOwn(METRICS, name)) {
    return METRICS[name as keyof typeof METRICS];
  }
  throw new TypeError(
    `Unknown metric "${name}"; the metrics are ${
      Object.keys(METRICS).join(", ")
    }`,
  );
}

/** Reads scores, with the training that they belong to and its costs. */
async function readResult(
  artifact: InputArtifact,
  trainings: readonly TrainedArtifact[],
): Promise<Result> {
  const info = await readScores(artifact.path);
  const adapter = artifactOf(artifact, info, trainings);
  const origin = originOf(adapter, trainings);
  const { logits, labels } = readOutputs(artifact.path, info);
  return {
    task: info.task,
    title: taskTitle(info.task),
    split: info.split,
    epoch: info.epoch,
    method: info.method,
    variant: variantOf(artifact.matrix),
    seed: info.seed,
    stage: adapter.artifact.stage,
    labels,
    classes: info.labels !== null,
    precision: info.precision,
    ranks: rankResults(info, logits),
    training: costOf(origin),
    size: await sizeOf(adapter),
    reductionSeconds: adapter === origin ? 0 : secondsOf(adapter.artifact),
    evaluationSeconds: secondsOf(artifact),
    evaluationFlops: info.flops,
  };
}

function rankResults(
  { ranks, labels, examples }: ScoresInfo,
  logits: Float32Array,
): RankResult[] {
  const outputs = outputsOf(labels);
  const size = examples * outputs;
  return ranks.map(({ rank, metrics }, i) => ({
    rank,
    metrics,
    predictions: predictionsOf(
      logits.subarray(i * size, (i + 1) * size),
      outputs,
    ),
  }));
}

/** Costs of a training; undefined for an imported adapter. */
function costOf(
  { artifact, training }: TrainedArtifact,
): TrainingCost | undefined {
  if (!("steps" in training)) return undefined;
  const { epochs, batchSize, learningRate, precision, engine } = training;
  const adapter = "alpha" in training ? training : undefined;
  return {
    rank: adapter?.rank ?? 0,
    settings: {
      epochs,
      batchSize,
      learningRate,
      alpha: adapter?.alpha,
      scale: adapter && servedRanks(adapter).length > 1
        ? scaleInWords(adapter.scaling)
        : undefined,
      draws: adapter && methodNamed(adapter.method).drawsInWords?.(adapter),
      precision,
      engine,
      start: adapter?.start?.task,
    },
    seconds: metricOf(artifact, TRAINING_SECONDS),
    stepSeconds: metricOf(artifact, STEP_SECONDS),
    steps: training.steps,
    examples: training.examples,
    flops: training.flops,
    losses: training.losses,
    selection: training.selection
      ? {
        split: training.selection.split,
        seconds: metricOf(artifact, SELECTION_SECONDS),
        flops: training.selection.flops,
      }
      : undefined,
  };
}

/** Reads the size of an adapter; undefined for a model without adapters. */
async function sizeOf(
  { artifact, training }: TrainedArtifact,
): Promise<AdapterSize | undefined> {
  if (!("rank" in training)) return undefined;
  const { SafetensorsFile } = await import(
    "../lib/engine/safetensors/reader.ts"
  );
  const path = join(artifact.path, "adapter_model.safetensors");
  using file = SafetensorsFile.open(path);
  let ofRanks = 0;
  let others = 0;
  for (const [name, { shape }] of file.tensors) {
    const count = shape.reduce((product, size) => product * size, 1);
    if (/\.lora_[AB]\.weight$/.test(name)) ofRanks += count;
    else others += count;
  }
  return { perRank: ofRanks / training.rank, others };
}

/** Matrix dimensions that the files of scores record; all others distinguish variants. */
const COMMON = [
  "glue",
  "task",
  "seed",
  "rank",
  "split",
  "epoch",
  "method",
  "by",
];

/** The variant of an artifact: its matrix dimensions that its files do not record. */
function variantOf(matrix: InputArtifact["matrix"]): Variant {
  return Object.fromEntries(
    Object.entries(matrix).filter(([key]) => !COMMON.includes(key)).sort(),
  );
}

function secondsOf({ stage, seconds }: InputArtifact): number {
  if (seconds !== undefined) return seconds;
  throw new Error(
    `"${stage}" has no recorded seconds; run it again with --force`,
  );
}

function metricOf({ stage, metrics }: InputArtifact, name: string): number {
  const value = metrics?.[name];
  if (value !== undefined) return value;
  throw new Error(
    `"${stage}" reported no metric "${name}"; run it again with --force`,
  );
}

/** An adapter or a classifier with its `training.json`. */
interface TrainedArtifact {
  readonly artifact: InputArtifact;
  readonly training: AdapterRecord | ClassifierTraining;
  /** SHA-256 of `training.json`. */
  readonly digest: string;
}

/** Reads the trainings of adapters or of classifiers. */
function readTrainings(
  artifacts: readonly InputArtifact[],
  read: (folder: string) => Promise<TrainedArtifact["training"]>,
): Promise<TrainedArtifact[]> {
  return Promise.all(artifacts.map(async (artifact) => ({
    artifact,
    training: await read(artifact.path),
    digest: await digestOf(join(artifact.path, "training.json")),
  })));
}

/**
 * Finds the artifact to which scores belong: it has the same method, task, seed
 * and matrix values, and the training whose digest the scores record.
 *
 * @throws {Error} If there is none, or more than one.
 */
function artifactOf(
  scores: InputArtifact,
  info: ScoresInfo,
  trainings: readonly TrainedArtifact[],
): TrainedArtifact {
  const found = trainings.filter(({ artifact, training }) =>
    training.method === info.method && training.task === info.task &&
    training.seed === info.seed &&
    Object.entries(artifact.matrix).every(([key, value]) =>
      scores.matrix[key] === value
    )
  );
  const [only] = found;
  if (only !== undefined && found.length === 1) {
    if (only.digest === info.training) return only;
    throw new Error(
      `"${scores.stage}" does not score "${only.artifact.stage}", but another training with the same method, task, seed and matrix values: connect that training`,
    );
  }
  const elsewhere = trainings.find(({ training }) =>
    training.method === info.method && training.seed === info.seed &&
    !("steps" in training) && training.task !== info.task
  );
  if (found.length === 0 && elsewhere !== undefined) {
    throw new Error(
      `"${elsewhere.artifact.stage}" was imported for the task "${elsewhere.training.task}", but "${scores.stage}" scores it on "${info.task}": set the parameter "task" of import-adapter, or connect its input "tokens"`,
    );
  }
  throw new Error(
    `Expected one training with the method "${info.method}", task "${info.task}", seed ${info.seed} and matrix values of "${scores.stage}", found ${
      names(found)
    }; connect the stages that trained the scored adapters or models, with the same matrix, to "adapters" or "classifiers"`,
  );
}

/**
 * The training that produced an adapter: its own, or for a reduced adapter the
 * training of the original, which differs only in method and scaling.
 *
 * @throws {Error} If the original of a reduced adapter is not connected.
 */
export function originOf(
  adapter: TrainedArtifact,
  adapters: readonly TrainedArtifact[],
): TrainedArtifact {
  const reduces = methodNamed(adapter.training.method).reduces?.method;
  if (reduces === undefined) return adapter;
  const others = ({ training }: TrainedArtifact) => ({
    ...training,
    method: undefined,
    scaling: undefined,
  });
  const found = adapters.find((other) =>
    other.training.method === reduces &&
    isDeepStrictEqual(others(other), others(adapter))
  );
  if (found !== undefined) return found;
  throw new Error(
    `"${adapter.artifact.stage}" was reduced from an adapter of method "${reduces}" that is not connected; connect the stage that trained it to "adapters" too, since its costs count`,
  );
}

function names(found: readonly TrainedArtifact[]): string {
  return found.map(({ artifact }) => `"${artifact.stage}"`).join(", ") ||
    "none";
}

/** Reads the scores of ranks chosen per module. */
async function readChoice(
  { path, stage, matrix }: InputArtifact,
): Promise<ChoiceResult> {
  const { task, method, modules, choice } = await readRanks(path);
  if (choice === null) {
    throw new Error(
      `The ranks of "${stage}" were written by hand and have no scores: connect a stage of the task "choose-ranks"`,
    );
  }
  const { split, epoch, seed, budget, chosen, even } = choice;
  return {
    task,
    title: taskTitle(task),
    split,
    epoch,
    method,
    variant: variantOf(matrix),
    seed,
    budget,
    modules,
    chosen,
    even,
  };
}

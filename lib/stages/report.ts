import { join } from "@std/path/posix/join";
import vegaEmbed from "vega-embed/runtime" with { type: "text" };
import vega from "vega/runtime" with { type: "text" };
import {
  type ClassifierTraining,
  readClassifierTraining,
} from "../artifacts/classifier.ts";
import { CORPUS, readDatasetInfo, readExamples } from "../artifacts/dataset.ts";
import { writeJsonFile } from "../artifacts/json_file.ts";
import {
  MANY_TOKENS_PER_WORD,
  readTokensInfo,
  TOKENS_PER_WORD,
  truncatedMetric,
} from "../artifacts/tokens.ts";
import {
  type Outputs,
  readOutputs,
  readScores,
  type ScoresInfo,
} from "../artifacts/scores.ts";
import {
  type AdapterRecord,
  ranksInWords,
  readRecord,
  SELECTION_SECONDS,
  settingsOf,
  STEP_SECONDS,
  TRAINING_SECONDS,
  trainingDigest,
} from "../artifacts/training.ts";
import { adapterTensor } from "../engine/adapters/registry.ts";
import { elementCount, SafetensorsFile } from "../engine/safetensors/reader.ts";
import {
  boundProvenance,
  methodName,
  PRETRAINED,
  roleOf,
} from "../engine/schedules/registry.ts";
import { taskTitle } from "../benchmarks/glue.ts";
import { type Example, labelsOf } from "../data/example.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import { problemOf } from "../problems/registry.ts";
import { textBaselines, textMark, writing } from "../problems/writing.ts";
import { compare } from "../report/compare.ts";
import { renderFigures } from "../report/figure.ts";
import { renderMarkdown } from "../report/markdown.ts";
import { distinguished } from "../report/methods.ts";
import { renderPage } from "../report/page.ts";
import { viewOf } from "../report/problem_views.ts";
import type { Report } from "../report/report.ts";
import type { Result, TrainingCost } from "../report/result.ts";
import { seededDraw } from "../report/statistics.ts";
import type { CompareOptions } from "../report/summarize.ts";

type Input = "scores" | "adapters" | "classifiers" | "data" | "tokenized";
type Artifacts = readonly InputArtifact[];

/** Compares the scores of a stage and writes an artifact of kind `report`. */
export async function report(
  { inputs, params, output }: Stage<
    Pick<CompareOptions, "replicates" | "confidence" | "margin">,
    Readonly<Record<Input, Artifacts>>
  >,
): Promise<void> {
  const { scores, adapters, classifiers, data, tokenized } = inputs;
  const trainings = await Promise.all([
    ...adapters.map((it) => readTrained(it, readRecord)),
    ...classifiers.map((it) => readTrained(it, readClassifierTraining)),
  ]);
  const read = await Promise.all(
    scores.map((it) => readResults(it, trainings, data)),
  );
  const results = distinguished(differentResults(read.flat()));
  const faults = await faultsOfData(data, tokenized);
  const report: Report = {
    ...compare(results, { ...params, draw: seededDraw(0) }),
    ...(faults.length > 0 && { faults }),
  };
  const markdown = renderMarkdown(report);
  const figures = await renderFigures(report);
  const runtimes = [vega, vegaEmbed];
  const page = renderPage({ report, markdown, figures, runtimes });
  await writeJsonFile(join(output, "report.json"), report);
  await Deno.writeTextFile(join(output, "report.md"), markdown);
  await Deno.writeTextFile(join(output, "report.html"), page);
  for (const { name, svg } of figures) {
    await Deno.writeTextFile(join(output, name), svg);
  }
}

/** A result, and what tells it from others that are scored alike. */
interface ReadResult {
  readonly result: Result;
  readonly key: string;
}

/**
 * Different results: those of an adapter that is scored twice alike, as it is
 * if a stage has passed it on, count once, as do those of a model without an
 * adapter, which is scored beside each.
 */
function differentResults(read: readonly ReadResult[]): Result[] {
  const results = new Map<string, Result>();
  for (const { key, result } of read) {
    if (!results.has(key)) results.set(key, result);
  }
  return [...results.values()];
}

/**
 * Reads scores, with the training that they belong to and its costs, and those
 * of the model without an adapter, if it was scored beside it.
 *
 * @throws {Error} If the training is not connected.
 */
async function readResults(
  artifact: InputArtifact,
  trainings: readonly TrainedArtifact[],
  data: Artifacts,
): Promise<ReadResult[]> {
  const info = await readScores(artifact.path);
  const { task, seed, provenance } = info;
  // One that a stage has passed on has the same digest, and no costs.
  const same = trainings.filter(({ digest }) => digest === info.training);
  const trained = same.filter(({ artifact }) =>
    artifact.metrics?.[TRAINING_SECONDS] !== undefined
  );
  const adapter = trained[0] ?? same[0];
  if (adapter === undefined) {
    throw new Error(
      `"${artifact.stage}" scores a training of ${
        methodName(provenance)
      } on "${task}" with seed ${seed} that is not connected: connect the stage that trained the scored adapter or model to "adapters" or "classifiers"`,
    );
  }
  const made = originsOf(adapter, trainings);
  const origin = made.pop()!;
  const { logits, labels, words } = readOutputs(artifact.path);
  const problem = problemOf(info, words?.starts);
  const { confidences } = viewOf(problem);
  const size = logits.length / info.ranks.length;
  const ranks = info.ranks.map(({ rank, metrics }, i) => {
    const ofRank = logits.subarray(i * size, (i + 1) * size);
    return {
      rank,
      metrics,
      predictions: problem.predictions(ofRank),
      probabilities: confidences?.(ofRank, problem.outputs) ?? null,
    };
  });
  const result: Result = {
    ...info,
    title: taskTitle(task),
    variant: { ...settingsOf(adapter.training), evaluatedIn: info.precision },
    stage: adapter.artifact.stage,
    labels,
    problem,
    ...words && { starts: words.starts },
    ...await baselinesOf(info, data),
    texts: await textsOf(artifact, info, { labels, words }, data),
    ranks,
    training: costOf(origin),
    size: adapterSize(adapter),
    reductionSeconds: made
      .reduce((sum, { artifact }) => sum + measured(artifact), 0),
    reductionFlops: made
      .reduce((sum, it) => sum + (recordOf(it).heads?.flops ?? 0), 0),
    evaluationSeconds: measured(artifact),
    machines: [origin.artifact, adapter.artifact, artifact]
      .flatMap(({ machine }) => machine ?? []),
    evaluationFlops: info.flops,
  };
  const isOfAdapter = roleOf(provenance) !== "bound";
  const [lowest, ...others] = ranks;
  const isPassedOn = same.length > 1 && trained.length === 1;
  const key = JSON.stringify([info, isPassedOn ? null : artifact.path]);
  if (!isOfAdapter || lowest!.rank > 0) return [{ result, key }];
  const untrained: Result = {
    ...result,
    provenance: boundProvenance(PRETRAINED.name),
    variant: { evaluatedIn: info.precision },
    ranks: [lowest!],
    training: undefined,
    size: null,
    reductionSeconds: 0,
    reductionFlops: 0,
  };
  const { split, epoch, precision } = info;
  return [
    { result: { ...result, ranks: others }, key },
    {
      result: untrained,
      key: JSON.stringify([task, split, epoch, precision, info.ranks[0]]),
    },
  ];
}

/** Percentage of truncated texts from which a report names them. */
const MANY_TRUNCATED = 1;

/** The faults of data sets, with the name of the data if there are several. */
async function faultsOfData(data: Artifacts, tokens: Artifacts) {
  const listed = await Promise.all([
    ...data.map(async ({ path }) => {
      const { task, faults } = await readDatasetInfo(path);
      return (faults ?? []).map((it) => ({ task, text: it }));
    }),
    ...tokens.map(async ({ path, metrics }) => {
      const { task, problem, maxLength, splits } = await readTokensInfo(path);
      const lost = problem === "language"
        ? " with their prompts: these have lost their beginnings, then the texts their ends"
        : ", and what is beyond is not read";
      const perWord = metrics?.[TOKENS_PER_WORD] ?? 0;
      const ofLanguage = perWord < MANY_TOKENS_PER_WORD ? [] : [{
        task,
        text: `a word has ${
          perWord.toFixed(1)
        } tokens (about 1.1 in a language that a tokenizer was made for): the model may not know the language of these texts, and one that does may score higher`,
      }];
      const ofLengths = Object.entries(splits).flatMap(([split, examples]) => {
        const truncated = metrics?.[truncatedMetric(split)] ?? 0;
        const share = 100 * truncated / examples;
        if (share < MANY_TRUNCATED) return [];
        const of = `${truncated} of ${examples} texts (${share.toFixed(0)} %)`;
        const text =
          `${split}: ${of} are longer than ${maxLength} tokens${lost}: a larger maxLength, up to the model's positions, reads more`;
        return [{ task, text }];
      });
      return [...ofLanguage, ...ofLengths];
    }),
  ]);
  return listed.flat().map(({ task, text }) =>
    data.length < 2 ? text : `${task}: ${text}`
  );
}

/**
 * Texts without a training for the prompts of written texts, if their data set
 * is connected.
 */
async function baselinesOf(
  { problem, task, split }: ScoresInfo,
  data: Artifacts,
): Promise<Pick<Result, "baselines">> {
  if (problem !== writing.name) return {};
  for (const { path } of data) {
    const info = await readDatasetInfo(path);
    if (info.task !== task || !Object.hasOwn(info.splits, split)) continue;
    const scored = await readExamples(path, split);
    const training = Object.hasOwn(info.splits, "train")
      ? await readExamples(path, "train")
      : [];
    return { baselines: textBaselines(scored, training) };
  }
  return {};
}

/**
 * The texts of scored examples, if their data set is connected, then those of
 * its corpus.
 *
 * @throws {Error} If it has other examples.
 */
async function textsOf(
  { stage }: InputArtifact,
  { task, split }: ScoresInfo,
  { labels, words }: Omit<Outputs, "logits">,
  data: Artifacts,
): Promise<Result["texts"]> {
  for (const { path, stage: source } of data) {
    const info = await readDatasetInfo(path);
    if (info.task !== task || !Object.hasOwn(info.splits, split)) continue;
    const isWritten = problemOf(info).head === "language";
    const examples = (await readExamples(path, split))
      .map((it) => isWritten ? { ...it, label: textMark(it) } : it);
    /** Of an example whose words have labels, those that were scored. */
    const scoredWords = (all: Example["words"], i: number) =>
      all && words && Array.from(
        words.numbers.subarray(words.starts[i], words.starts[i + 1]),
        (number) => all[number]!,
      );
    const scored = examples.map(({ words: all, ...example }, i): Example => {
      const words = scoredWords(all, i);
      return words ? { ...example, words } : example;
    });
    const targets = labelsOf(scored);
    // Losses have for labels the tokens to write, which the data have not.
    const same = isWritten && words
      ? examples.length === words.starts.length - 1
      : targets.length === labels.length &&
        targets.every((target, i) => Math.fround(target) === labels[i]);
    if (same) {
      const corpus = Object.hasOwn(info.splits, CORPUS)
        ? await readExamples(path, CORPUS)
        : [];
      return [
        ...scored.map(({ text, pair, words, others }) => ({
          text,
          ...(pair !== undefined && { pair }),
          ...(words && { words }),
          ...(others && { others }),
        })),
        ...corpus.map(({ text }) => ({ text, others: [text] })),
      ];
    }
    throw new Error(
      `"${stage}" scores other examples than "${source}" has: connect the data that were scored to "data"`,
    );
  }
  return undefined;
}

/** Costs of a training; undefined for an imported adapter. */
function costOf(
  { artifact, training }: TrainedArtifact,
): TrainingCost | undefined {
  if ("imported" in training && training.imported) return undefined;
  const { epochs, batchSize, learningRate, precision, engine } = training;
  const adapter = "alpha" in training ? training : undefined;
  const ranks = adapter && ranksInWords(adapter);
  return {
    ...training,
    rank: adapter?.rank ?? 0,
    settings: {
      epochs,
      batchSize,
      learningRate,
      ...(adapter?.adapter && { adapter: adapter.adapter }),
      alpha: adapter?.alpha,
      scale: ranks?.scale,
      draws: ranks?.draws,
      precision,
      engine,
    },
    start: adapter?.start?.task,
    seconds: measured(artifact, TRAINING_SECONDS),
    stepSeconds: measured(artifact, STEP_SECONDS),
    selection: training.selection
      ? {
        ...training.selection,
        seconds: measured(artifact, SELECTION_SECONDS),
      }
      : undefined,
  };
}

/** Reads the size of an adapter; null for a model without adapters. */
function adapterSize(trained: TrainedArtifact): Result["size"] {
  const { rank } = recordOf(trained);
  if (rank === undefined) return null;
  const path = join(trained.artifact.path, "adapter_model.safetensors");
  using file = SafetensorsFile.open(path);
  let ofRanks = 0;
  let others = 0;
  for (const [name, { shape }] of file.tensors) {
    const isOfRank = adapterTensor(name)?.of.shape.includes("rank");
    if (isOfRank) ofRanks += elementCount(shape);
    else others += elementCount(shape);
  }
  return { perRank: ofRanks / rank, others };
}

/** The seconds or a metric of the run that made an artifact. */
function measured(
  { stage, seconds, metrics }: InputArtifact,
  name = "seconds",
): number {
  const value = name === "seconds" ? seconds : metrics?.[name];
  if (value !== undefined) return value;
  throw new Error(
    `"${stage}" has no recorded ${name}; run it again with --force`,
  );
}

/** An adapter or a classifier with its `training.json`. */
interface TrainedArtifact {
  readonly artifact: InputArtifact;
  readonly training: AdapterRecord | ClassifierTraining;
  /** Digest of its `training.json`. */
  readonly digest: string;
}

async function readTrained(
  artifact: InputArtifact,
  read: (folder: string) => Promise<AdapterRecord | ClassifierTraining>,
): Promise<TrainedArtifact> {
  const { path } = artifact;
  const digest = await trainingDigest(path);
  return { artifact, training: await read(path), digest };
}

/**
 * The record of an adapter; nothing of a model that was trained without
 * adapters.
 */
function recordOf({ training }: TrainedArtifact): Partial<AdapterRecord> {
  return "imported" in training ? training : {};
}

/**
 * An adapter or a classifier, and what it was made of one after the other, its
 * training last: of fitted heads the adapter to which they were fitted, of a
 * reduced adapter its original, which differs in the reduction alone.
 *
 * @throws {Error} If one of them is not connected.
 */
function originsOf(
  adapter: TrainedArtifact,
  adapters: readonly TrainedArtifact[],
): TrainedArtifact[] {
  const { artifact: { stage }, training } = adapter;
  const { heads, reducedBy } = recordOf(adapter);
  if (!heads && !reducedBy) return [adapter];
  const original = JSON.stringify({ ...training, reducedBy: null });
  const origin = adapters.find((other) =>
    heads
      ? other.digest === heads.of
      : JSON.stringify(other.training) === original
  );
  if (origin !== undefined) return [adapter, ...originsOf(origin, adapters)];
  const what = heads ? "has heads that were fitted to" : "was reduced from";
  throw new Error(
    `"${stage}" ${what} an adapter that is not connected; connect the stage that made it to "adapters" too, since its costs count`,
  );
}

import { join } from "@std/path/posix/join";
import * as z from "zod";
import { taskFields } from "../artifacts/classes.ts";
import { writeClassifier } from "../artifacts/classifier.ts";
import { findModelOrigin, openWeights } from "../artifacts/model.ts";
import { readFittingTokens, readLabelledTokens } from "../artifacts/tokens.ts";
import {
  RUN_FIELDS,
  SELECTION_SECONDS,
  STEP_SECONDS,
  TRAINING_SECONDS,
} from "../artifacts/training.ts";
import type { LabelledExamples } from "../data/example.ts";
import { quote } from "../data/text_file.ts";
import type { ClassifierShape } from "../engine/models/outline.ts";
import {
  encoderTensors,
  startValues,
  toTensors,
  type Trainable,
} from "../engine/models/parameters.ts";
import { type LossName, lossNamed } from "../engine/ops/loss.ts";
import { WITHOUT_ADAPTERS } from "../engine/schedules/fixed.ts";
import { type Bound, BOUNDS } from "../engine/schedules/registry.ts";
import type { RankObjective } from "../engine/schedules/schedule.ts";
import {
  bestEpoch,
  type Checkpoint,
  type EpochScores,
  loadCheckpoint,
  saveCheckpoint,
} from "../engine/training/checkpoint.ts";
import {
  evaluationBatchSize,
  evaluationFlops,
  evaluator,
  type RankEvaluationOptions,
} from "../engine/training/evaluation.ts";
import { trainingPhases } from "../engine/training/phases.ts";
import { train, type TrainingHooks } from "../engine/training/train.ts";
import type { Stage } from "../pipeline/task.ts";
import type { Problem } from "../problems/problem.ts";
import { problemOf, signOf } from "../problems/registry.ts";
import { startStageEngine } from "./engine.ts";
import { loadFolder } from "./load_classifier.ts";
import { readScoredSplit, type ScoredSplit } from "./scored_split.ts";
import type { TrainingStage } from "./settings.ts";

/** What is trained, and how. */
interface TrainingPlan
  extends Pick<RankEvaluationOptions, "alpha" | "scaling"> {
  /** Ranks that the trained adapter serves. */
  readonly ranks: readonly number[];
  readonly trained: Trainable;
  readonly objective: RankObjective;
  /**
   * Changes the initial parameters.
   *
   * @param fresh Flat, `[size]`, of the classifier at the first rank of its
   * training
   */
  readonly startFrom?:
    | ((fresh: Float32Array, first: ClassifierShape) => Float32Array)
    | undefined;
}

/**
 * Trains the model of a stage on its tokens, from the stage's checkpoint if
 * there is one, and reports progress and seconds.
 *
 * @returns The classifier with its values, and the fields of `training.json`
 * that every method has
 * @throws {Error} If a split is missing or has no labels, or the tokens were
 * made for another model.
 */
export async function runTraining(
  stage: TrainingStage,
  { trained, objective, startFrom, ...served }: TrainingPlan,
) {
  const started = performance.now();
  const { params, inputs, signal } = stage;
  const folder = inputs.model.path;
  const tokens = inputs.tokens.path;
  const info = await readFittingTokens(tokens, folder);
  const examples = readLabelledTokens(tokens, info, "train");
  const held = params.selectOn === "none"
    ? undefined
    : readScoredSplit(tokens, info, params.selectOn);
  const problem = problemOf(info);
  const loss = lossOf(problem, params);
  const classWeights = classWeightsOf(stage, problem, examples);
  const precision = await startStageEngine(stage, stage.params.precision);
  const classifier = loadFolder(folder, problem, trained);
  if (classifier.layout.size === 0) {
    throw new RangeError(
      `Nothing would be trained: the ${problem.head} head of a model is not trained; train an adapter or all weights`,
    );
  }
  const phases = trainingPhases(classifier, examples, { ...params, objective });
  const first = phases[0]!.classifier;
  using file = openWeights(folder);
  const fresh = startValues(file, first, params.seed);
  const scored = {
    ...served,
    passes: params.epochs,
    batchSize: evaluationBatchSize(served.ranks.length),
  };
  using evaluate = held && evaluator(classifier, scored);
  const checkpoint = join(stage.checkpoint, "training.safetensors");
  const result = await train(
    classifier,
    startFrom?.(fresh, first) ?? fresh,
    examples,
    {
      ...params,
      objective,
      loss,
      padTo: params.padding === "maxLength" ? info.maxLength : undefined,
      optimizer: {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: params.weightDecay,
        clipNorm: params.clipNorm,
      },
      classWeights,
    },
    {
      evaluate: held && evaluate && (async (values) => {
        const { ranks } = scored;
        const { evaluated } = held;
        const outputs = await evaluate(values, ranks, evaluated, { signal });
        const logits = held.logitsOf(ranks.length, outputs);
        return scoreEpoch(held, ranks, logits, stage.log);
      }),
      resume: resumeFrom(checkpoint, stage),
      started,
      signal,
      save(state) {
        saveCheckpoint(checkpoint, state);
        stage.saved(`step ${state.progress.step}`);
      },
      ...progressReporter(stage),
    },
  );
  stage.metric(STEP_SECONDS, result.msPerStep / 1000);
  stage.metric(TRAINING_SECONDS, result.seconds);
  const { epochs, values, best } = result;
  if (held !== undefined) {
    stage.metric(SELECTION_SECONDS, result.evaluationSeconds);
  }
  const record = {
    ...taskFields(info),
    seed: params.seed,
    ...z.object(RUN_FIELDS).parse({
      ...result,
      ...params,
      model: (await findModelOrigin(folder))?.name ?? null,
      batchSize: params.batchSize * params.accumulation,
      maxLength: info.maxLength,
      classWeights: classWeights && params.classWeights,
      symmetric: params.symmetric || undefined,
      precision,
      engine: stage.runtimes.engine!.engine,
      examples: examples.index.length * params.epochs,
      selection: held === undefined ? null : {
        split: held.name,
        examples: held.problem.units(held.examples.labels),
        metric: held.metrics[0]!,
        flops: epochs.length *
          evaluationFlops(classifier, held.evaluated, scored),
        best: bestEpoch(epochs)!.epoch,
        epochs,
      },
    }),
  };
  return { ...classifier, values, best, record };
}

/**
 * Trains a model without adapters on the tokens of a stage and writes an
 * artifact of kind `classifier`.
 */
export async function trainClassifier(
  stage: TrainingStage,
  method: Bound,
): Promise<void> {
  const { trains } = BOUNDS[method];
  const folder = stage.inputs.model.path;
  const { model, layout, values, best, record } = await runTraining(stage, {
    trained: trains,
    objective: WITHOUT_ADAPTERS,
    alpha: 1,
    scaling: "rank",
    ranks: [0],
  });
  using file = openWeights(folder);
  const frozen = trains === "head" ? encoderTensors(file, model) : {};
  const tensors = (values: Float32Array) => ({
    ...frozen,
    ...toTensors(values, layout),
  });
  await writeClassifier(stage.output, folder, {
    tensors: tensors(values),
    best: best && tensors(best),
    training: { method, ...record },
  });
}

/** The checkpoint of a stage, if there is an intact one. */
function resumeFrom(
  path: string,
  { log, saved }: Pick<TrainingStage, "log" | "saved">,
): Checkpoint | undefined {
  try {
    const resume = loadCheckpoint(path);
    if (resume !== undefined) {
      log(`Resuming after step ${resume.progress.step}`);
      saved(`step ${resume.progress.step}`);
    }
    return resume;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    log(
      `Starting from the first step, since the checkpoint is damaged: ${error.message}`,
    );
  }
}

/**
 * The loss of a problem by the settings of a training.
 *
 * @throws {RangeError} If they do not suit the problem.
 */
function lossOf(
  { loss, symmetricLoss }: Problem,
  { symmetric, batchSize }: TrainingStage["params"],
): LossName {
  const chosen = symmetric ? symmetricLoss : loss;
  if (chosen === undefined) {
    throw new RangeError(
      '"symmetric: true" applies to texts that belong together: remove it',
    );
  }
  if (lossNamed(chosen).seesBatch && batchSize === 1) {
    throw new RangeError(
      '"batchSize: 1" teaches nothing: texts are compared with others of their batch; use 16 or more',
    );
  }
  return chosen;
}

/** The weights of the classes that a stage asks for. */
function classWeightsOf(
  { params, log }: TrainingStage,
  { classes, balancedWeights }: Problem,
  examples: LabelledExamples,
): readonly number[] | undefined {
  if (params.classWeights === "none") return undefined;
  if (balancedWeights === undefined) {
    throw new RangeError(
      '"classWeights: balanced" requires labels that are classes: remove it',
    );
  }
  const weights = balancedWeights(examples.labels);
  const shown = classes.map((name, i) =>
    `${quote(name)} ${weights[i]!.toFixed(3)}`
  );
  log(`Class weights: ${shown.join(", ")}`);
  return weights;
}

/**
 * Scores an epoch by its logits: the mean of the data's main metric over the
 * ranks, where an undefined one counts as 0, or if lower values are better its
 * negative, which must be finite.
 */
export function scoreEpoch(
  split: ScoredSplit,
  evaluated: readonly number[],
  logits: Float32Array,
  log: (line: string) => void,
): Pick<EpochScores, "score" | "ranks"> {
  const ranks = split.score(evaluated, logits);
  const [metric] = split.metrics;
  const sign = signOf(metric!);
  const main = ranks.map(({ metrics }) => metrics[metric!]!);
  const zeroed = main.map((it) => sign > 0 && Number.isNaN(it) ? 0 : it);
  const mean = zeroed.reduce((sum, it) => sum + it, 0) / ranks.length;
  const atRanks = ranks.length === 1
    ? ""
    : ` at ranks ${evaluated.join(" ")}, mean ${mean.toFixed(4)}`;
  const values = main.map((it) => it.toFixed(4)).join(" ");
  const line = `${split.name}: ${metric} ${values}${atRanks}`;
  log(line);
  if (Number.isFinite(mean)) return { score: sign * mean, ranks };
  throw new RangeError(
    `Training has diverged, ${line}: try a lower learning rate, a longer warm-up, or precision "f32"`,
  );
}

/**
 * Reports the steps of a training: each as progress; to the log, and the loss
 * as a metric, every few steps:
 * `loss 0.5310  lr 8.21e-4  rank 3  126 ms/step  5120 tokens/s  310 GFLOPS`.
 */
export function progressReporter(
  stage: Pick<Stage<unknown>, "log" | "metric" | "progress">,
): Required<Pick<TrainingHooks, "report" | "progress">> {
  let line: string | undefined;
  return {
    progress: (step, steps, note = line) =>
      stage.progress(step, steps, "steps", note),
    report({ step, steps, loss, ranks, ...report }) {
      const lowest = Math.min(...ranks);
      const highest = Math.max(...ranks);
      const trained = lowest === highest
        ? `rank ${highest}`
        : `ranks ${lowest} to ${highest}`;
      // Shown with the next step.
      line = [
        `loss ${loss.toFixed(4)}`,
        `lr ${report.learningRate.toExponential(2)}`,
        ...(highest === 0 ? [] : [trained]),
        `${report.msPerStep.toFixed(0)} ms/step`,
        `${report.tokensPerSecond.toFixed(0)} tokens/s`,
        `${(report.flopsPerSecond / 1e9).toFixed(0)} GFLOPS`,
      ].join("  ");
      stage.log(`step ${step}/${steps}  ${line}`);
      stage.metric("loss", loss, step);
    },
  };
}

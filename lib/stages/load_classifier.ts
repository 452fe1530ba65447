import { type Adapter, afterEpoch, readAdapter } from "../peft/adapter.ts";
import { openWeights, readModel } from "../artifacts/model.ts";
import {
  type AdapterRecord,
  checkServed,
  servedRanks,
} from "../artifacts/training.ts";
import { readFittingTokens } from "../artifacts/tokens.ts";
import type { EncodedExamples } from "../data/example.ts";
import { shapeFault } from "../peft/checks.ts";
import { PEFT_PREFIX, peftNameOf } from "../peft/names.ts";
import {
  type Classifier,
  loadClassifier,
} from "../engine/models/classifier.ts";
import type { ClassifierShape } from "../engine/models/outline.ts";
import { fromTensors, type Trainable } from "../engine/models/parameters.ts";
import {
  evaluateRanks,
  type RankEvaluationOptions,
} from "../engine/training/evaluation.ts";
import type { Precision } from "../engine/tensorflow/precision.ts";
import type { InputsOf, Stage } from "../pipeline/task.ts";
import type { Problem } from "../problems/problem.ts";
import { checkSameLabels, problemOf } from "../problems/registry.ts";
import { startStageEngine } from "./engine.ts";
import type { ADAPTER_INPUTS, RankChoice, UsageSettings } from "./settings.ts";

/** The parts of a stage that starting the engine requires. */
type ComputingStage = Pick<
  Stage<{ readonly precision: Precision | "auto" }>,
  "cpus" | "runtimes" | "params"
>;

/**
 * Loads an artifact of kind `model` as a classifier. The engine must be
 * running.
 *
 * @param problem By which the head is chosen
 * @param trained What is or was trained: adapters with the head (for example as
 * in a `training.json`), the head, or all weights
 * @throws {SyntaxError} If the folder does not hold a supported encoder.
 */
export function loadFolder(
  folder: string,
  { head, outputs }: Pick<Problem, "head" | "outputs">,
  trained: Trainable,
): Classifier {
  using file = openWeights(folder);
  return loadClassifier(file, readModel(folder, head), outputs, trained);
}

/**
 * The parameters of an adapter, flat in the layout of a classifier, `[size]`.
 *
 * @throws {SyntaxError} Naming the tensor, if the adapter does not fit the
 * model.
 */
export function adapterValues(
  tensors: Adapter["tensors"],
  { model, layout }: ClassifierShape,
): Float32Array {
  const read = (tensor: string, shape: readonly number[]) => {
    const name = peftNameOf(tensor, model);
    const fault = shapeFault(tensors, name, shape);
    if (fault === undefined) return tensors[name]!.values as Float32Array;
    throw new SyntaxError(
      `The adapter does not fit the model: ${fault}; connect the model on which it was trained`,
    );
  };
  return fromTensors(read, layout);
}

/** A classifier with its parameters, ready to compute. */
export interface Ready {
  /** Folder of the model. */
  readonly folder: string;
  readonly classifier: Classifier;
  /** Flat parameters, `[size]` */
  readonly values: Float32Array;
  /** Precision of matrix products. */
  readonly precision: Precision;
  readonly alpha: Adapter["training"]["alpha"];
  readonly scaling: Adapter["training"]["scaling"];
  /** Last layers of ranks that have their own. */
  readonly heads: Adapter["heads"];
}

/** Starts the engine of a stage and loads a model with an adapter. */
export async function loadAdapter(
  stage: ComputingStage,
  folder: string,
  { training, tensors, heads }: Adapter,
): Promise<Ready> {
  const { alpha, scaling } = training;
  const precision = await startStageEngine(stage, stage.params.precision);
  const classifier = loadFolder(folder, problemOf(training), training);
  return {
    folder,
    classifier,
    values: adapterValues(tensors, classifier),
    precision,
    alpha,
    scaling,
    heads: heads && new Map(
      [...heads].map(([rank, head]) => [
        rank,
        Object.fromEntries(
          Object.entries(head)
            .map(([name, tensor]) => [name.slice(PEFT_PREFIX.length), tensor]),
        ),
      ]),
    ),
  };
}

/**
 * Logits of examples at some ranks, in one pass whose progress the stage
 * reports.
 *
 * @param unit What an example is called: `texts`
 * @returns `[ranks, examples, outputs]`, or of features
 * `[ranks, examples, width]`
 */
export function logitsAt(
  stage: Pick<Stage<unknown>, "progress" | "signal">,
  { classifier, values, alpha, scaling, heads }: Ready,
  examples: EncodedExamples,
  options: Omit<RankEvaluationOptions, "alpha" | "scaling">,
  unit = "examples",
): Promise<Float32Array> {
  return evaluateRanks(classifier, values, examples, {
    ...options,
    alpha,
    scaling,
    heads,
    signal: stage.signal,
    progress: (done, note) =>
      stage.progress(done, examples.index.length, unit, note),
  });
}

/** A stage that runs an adapter on tokens. */
export type AdapterStage<Params> = Stage<
  Params & Omit<UsageSettings, "batchSize">,
  InputsOf<typeof ADAPTER_INPUTS>
>;

/**
 * Reads the adapter and the tokens of a stage; `load()` starts the engine and
 * loads the model with the adapter.
 *
 * @throws {RangeError} As {@linkcode selectedRanks}.
 * @throws {Error} If training selected no best epoch, or the tokens have other
 * classes or are for another model.
 */
export async function openAdapter(
  stage: AdapterStage<unknown>,
  choice: RankChoice,
) {
  const { params, inputs: { model, tokens, adapter: { path } } } = stage;
  const read = await readAdapter(path);
  const ranks = selectedRanks(choice, read.training);
  const adapter = afterEpoch(read, params.epoch);
  const info = await readFittingTokens(tokens.path, model.path);
  checkSameLabels(adapter.training, info);
  const load = () => loadAdapter(stage, model.path, adapter);
  return { adapter, ranks, info, load };
}

/**
 * The ranks of an adapter that a choice names, ascending.
 *
 * @throws {RangeError} If the adapter does not serve one of them.
 */
export function selectedRanks(
  choice: RankChoice,
  training: AdapterRecord,
): number[] {
  if (typeof choice !== "string") {
    for (const rank of choice) checkServed(rank, training);
    return [...new Set(choice)].sort((a, b) => a - b);
  }
  const served = servedRanks(training);
  return served.filter((rank) =>
    choice === "all" || rank === served.at(-1) ||
    Number.isInteger(Math.log2(rank))
  );
}

import { ranksOf } from "./method_results.ts";
import type { CostSummary, MethodSummary } from "./report.ts";
import type { Result, TrainingCost } from "./result.ts";
import { mean } from "./statistics/sample.ts";

/** A result with a training behind it. */
type Trained = Result & { readonly training: TrainingCost };

function allTrained(results: readonly Result[]): results is readonly Trained[] {
  return results.every(({ training }) => training !== undefined);
}

/**
 * What a method's sweep costs, from the measured times and counted operations of its stages;
 * null if an adapter was not trained here.
 *
 * A sweep is one training for each rank of an adapter: one for DyLoRA, whose
 * adapter has the largest, one a rank for LoRA. However often an adapter was
 * evaluated, it was trained once. Seeds repeat a sweep, so their mean is taken.
 */
export function costOf(results: readonly Result[]): CostSummary | null {
  if (!allTrained(results)) return null;
  const repeats = [
    ...Map.groupBy(results, ({ training }) => training.rank).values(),
  ].map((group) => [...Map.groupBy(group, ({ seed }) => seed).values()]);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const sweep = (cost: (result: Trained) => number) =>
    sum(repeats.map((seeds) => mean(seeds.map(([first]) => cost(first!)))));
  const evaluations = (cost: (result: Trained) => number) =>
    sum(
      repeats.map((seeds) =>
        mean(seeds.map((evaluated) => sum(evaluated.map(cost))))
      ),
    );
  const trainingSeconds = sweep(({ training }) => training.seconds);
  const selection = ({ epoch, training }: Trained) =>
    epoch === "best" ? training.selection : undefined;
  const selectionSeconds = sweep((it) => selection(it)?.seconds ?? 0);
  const reductionSeconds = sweep((result) => result.reductionSeconds);
  const evaluationSeconds = evaluations((it) => it.evaluationSeconds);
  const trainingFlops = sweep(({ training }) => training.flops);
  const selectionFlops = sweep((it) => selection(it)?.flops ?? 0);
  const evaluationFlops = evaluations((it) => it.evaluationFlops);
  return {
    ranks: ranksOf(results),
    trainings: repeats.length,
    stepSeconds: mean(
      repeats.flat().map(([first]) => first!.training.stepSeconds),
    ),
    steps: sweep(({ training }) => training.steps),
    examples: sweep(({ training }) => training.examples),
    trainingSeconds,
    selectionSeconds,
    reductionSeconds,
    evaluationSeconds,
    sweepSeconds: trainingSeconds + selectionSeconds + reductionSeconds +
      evaluationSeconds,
    trainingFlops,
    selectionFlops,
    evaluationFlops,
    sweepFlops: trainingFlops + selectionFlops + evaluationFlops,
  };
}

/** Every value of each setting that the trainings have; null if an adapter was not trained here. */
export function settingsOf(
  results: readonly Result[],
): MethodSummary["settings"] {
  if (!allTrained(results)) return null;
  const settings = results.map(({ training }) => training.settings);
  const distinct = <T>(values: readonly T[]) => [...new Set(values)];
  return {
    epochs: distinct(settings.map(({ epochs }) => epochs)),
    batchSize: distinct(settings.map(({ batchSize }) => batchSize)),
    learningRate: distinct(settings.map(({ learningRate }) => learningRate)),
    alpha: distinct(settings.flatMap(({ alpha }) => alpha ?? [])),
    scale: distinct(settings.flatMap(({ scale }) => scale ?? [])),
    precision: distinct(settings.map(({ precision }) => precision)),
    engine: distinct(settings.map(({ engine }) => engine)),
    startedFrom: distinct(settings.flatMap(({ start }) => start ?? [])),
    selectedOn: distinct(
      results.flatMap(({ epoch, training: { selection } }) =>
        epoch === "best" && selection ? [selection.split] : []
      ),
    ),
  };
}

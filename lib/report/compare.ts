import { type MetricName, METRICS } from "../data/metrics.ts";
import {
  methodName,
  type Provenance,
  roleOf,
} from "../engine/schedules/registry.ts";
import { signed, withInterval } from "./format.ts";
import { methodKey } from "./methods.ts";
import { mistakesOf } from "./mistakes.ts";
import type { Average, Comparison, Contrast, Report } from "./report.ts";
import type { Result } from "./result.ts";
import {
  areasUnder,
  areaUnderCurve,
  curveAt,
  eachAxis,
  interval,
  mean,
  type ScoreCurve,
} from "./statistics.ts";
import {
  type CompareOptions,
  definedOf,
  methodsOf,
  pairedInterval,
  summarize,
} from "./summarize.ts";
import { againstSweep } from "./sweep.ts";
import { verdictOf } from "./verdict_text.ts";

/**
 * Compares scores and costs of trainings on the same task, split and epoch, and
 * averages the comparisons over tasks.
 *
 * @throws {Error} If results that are compared cover different examples or metrics.
 */
export function compare(
  results: readonly Result[],
  options: CompareOptions,
): Pick<Report, "comparisons" | "averages"> {
  const compared = [
    ...Map.groupBy(
      results,
      ({ task, split, epoch }) => JSON.stringify([task, split, epoch]),
    ).values(),
  ].map((group) => compareOne(group, options));
  return {
    comparisons: compared.map(({ comparison }) => comparison),
    averages: averagesOf(compared, options.confidence),
  };
}

/** A method that is compared with others. */
interface Side {
  readonly curve: ScoreCurve;
  readonly summary: Pick<
    Comparison["methods"][number],
    "role" | "method" | "provenance" | "variant"
  >;
}

/** A comparison and the curves behind it. */
interface Compared {
  readonly comparison: Comparison;
  readonly sides: readonly Side[];
}

function compareOne(
  results: readonly Result[],
  options: CompareOptions,
): Compared {
  const [first] = results as [Result];
  const { confidence, margin } = options;
  const metrics = Object.keys(first.ranks[0]!.metrics);
  checkComparable(results, metrics);
  const { methods, constant } = methodsOf(results, metrics[0]!, options);
  const sides = methods.map((curve) => ({
    curve,
    summary: summarize(curve, metrics, options),
  }));
  const verdict = verdictOf(sides, {
    examples: first.labels.length,
    classes: first.classes !== null,
    metric: metrics[0]!,
    constant,
    confidence,
    margin,
  });
  const { method, rank } = verdict?.recommended ??
    { method: 0, rank: methods[0]!.ranks[0]! };
  return {
    sides,
    comparison: {
      task: first.task,
      title: first.title,
      split: first.split,
      epoch: first.epoch,
      examples: first.labels.length,
      metrics,
      majority: majorityOf(first, metrics),
      confidence,
      verdict: verdict && {
        ...verdict,
        reasons: [
          ...verdict.reasons,
          ...verdict.kind === "nothing-learnt"
            ? []
            : headsText(sides, verdict.recommended, confidence),
        ],
      },
      methods: sides.map(({ summary }) => summary),
      contrasts: pairsOf(sides).map((pair) => {
        const [{ curve }, baseline] = pair;
        const isSwept = baseline.summary.role === "baseline";
        return {
          ...differenceOf(sides, pair, confidence),
          ...(isSwept
            ? againstSweep(curve, baseline.curve, options)
            : { speedUp: null, recommended: null }),
        };
      }),
      mistakes: mistakesOf({ method, rank }, methods[method]!.results),
    },
  };
}

/** The metrics must be known, and the paired bootstrap needs the same examples everywhere. */
function checkComparable(
  results: readonly Result[],
  metrics: readonly string[],
): void {
  const [{ task, split, labels }] = results as [Result];
  const unknown = metrics.find((name) => !Object.hasOwn(METRICS, name));
  if (unknown !== undefined) {
    const known = Object.keys(METRICS).join(", ");
    throw new TypeError(
      `Unknown metric "${unknown}"; the metrics are ${known}`,
    );
  }
  for (const other of results) {
    const same = other.labels.length === labels.length &&
      Array.from(labels).every((label, i) => label === other.labels[i]);
    if (!same) {
      throw new Error(
        `The scores of "${task}" on "${split}" cover different examples; evaluate all methods on the same data`,
      );
    }
    for (const { rank, metrics: found } of other.ranks) {
      if (String(Object.keys(found)) !== String(metrics)) {
        throw new Error(
          `The scores of "${task}" at rank ${rank} have the metrics "${
            Object.keys(found).join(", ")
          }", others have "${metrics.join(", ")}"`,
        );
      }
    }
  }
}

/** Scores of always predicting the most frequent class, the smallest on a tie. */
function majorityOf(
  { labels, classes }: Result,
  metrics: readonly string[],
): Comparison["majority"] {
  if (!classes) return null;
  const counts = classes.map(() => 0);
  for (let i = 0; i < labels.length; i++) counts[labels[i]!]!++;
  const label = counts.indexOf(Math.max(...counts));
  const constant = new Float64Array(labels.length).fill(label);
  return Object.fromEntries(
    metrics.map((name) => [
      name,
      definedOf(METRICS[name as MetricName](constant, labels)),
    ]),
  );
}

type Pair<T> = readonly [candidate: T, baseline: T];

/**
 * Each candidate with each LoRA trained at every rank; what trained several
 * ranks with each LoRA reduced by SVD, which also serves them after one
 * training; and what has a head for each rank with the same with the trained
 * head, and with LoRA that has such heads too.
 */
function pairsOf<T extends Side>(sides: readonly T[]): Pair<T>[] {
  const candidates = sides.filter((it) => it.summary.role === "candidate");
  const baselines = sides.filter((it) => it.summary.role === "baseline");
  const of = (it: T) => it.summary.provenance;
  const [fitted, plain] = [true, false].map((isFitted) =>
    candidates.filter((it) => (of(it).heads === "fitted") === isFitted)
  ) as [T[], T[]];
  const bySvd = plain.filter((it) => of(it).reducedBy === "svd");
  const trained = plain.filter((it) =>
    of(it).reducedBy === null &&
    !bySvd.some((other) =>
      of(other).trained === of(it).trained &&
      of(other).imported === of(it).imported
    )
  );
  const ofBaseline = fitted.filter((it) =>
    roleOf(withTrainedHead(of(it))) === "baseline"
  );
  const others = fitted.filter((it) => !ofBaseline.includes(it));
  return [
    ...consistentPairs(candidates, baselines),
    ...consistentPairs(trained, bySvd),
    ...others.flatMap((it) =>
      consistentPairs(
        [it],
        plain.filter((other) =>
          other.summary.method === methodName(withTrainedHead(of(it)))
        ),
      )
    ),
    ...consistentPairs(others, ofBaseline),
  ];
}

function withTrainedHead(provenance: Provenance): Provenance {
  return { ...provenance, heads: "trained" };
}

/** What a head for each rank brings to the method of a verdict, at its lowest and at the recommended rank, if it was scored without as well. */
function headsText(
  sides: readonly Side[],
  { method, rank }: { readonly method: number; readonly rank: number },
  confidence: number,
): string[] {
  const side = sides[method]!;
  const { provenance, variant } = side.summary;
  const plain = methodKey({
    method: methodName(withTrainedHead(provenance)),
    variant,
  });
  const other = sides.find((it) => methodKey(it.summary) === plain);
  if (provenance.heads === "trained" || other === undefined) return [];
  const { ranks } = differenceOf(sides, [side, other], confidence);
  const shown = ranks.filter((it, i) => i === 0 || it.rank === rank)
    .map((it) =>
      `${withInterval(it.difference, it.interval, signed)} at rank ${it.rank}`
    );
  return [`A head for each rank brings ${shown.join(" and ")}.`];
}

/** Pairs whose variants do not contradict each other. */
function consistentPairs<T extends Side>(
  candidates: readonly T[],
  baselines: readonly T[],
): Pair<T>[] {
  return candidates.flatMap((candidate) =>
    baselines
      .filter(({ summary: { variant } }) =>
        Object.entries(candidate.summary.variant).every(([key, value]) =>
          !Object.hasOwn(variant, key) || variant[key] === value
        )
      )
      .map((baseline) => [candidate, baseline] as const)
  );
}

/** A candidate minus a baseline, at the ranks that both have, and in the areas over these if there are several. */
function differenceOf<T extends Side>(
  sides: readonly T[],
  [candidate, baseline]: Pair<T>,
  confidence: number,
): Pick<Contrast, "candidate" | "baseline" | "ranks" | "areas"> {
  const ranks = sharedRanks([candidate, baseline]);
  const ours = curveAt(candidate.curve, ranks);
  const theirs = curveAt(baseline.curve, ranks);
  return {
    candidate: sides.indexOf(candidate),
    baseline: sides.indexOf(baseline),
    ranks: ranks.map((rank, i) => ({
      rank,
      difference: definedOf(ours.scores[i]! - theirs.scores[i]!),
      interval: pairedInterval(ours.means[i]!, theirs.means[i]!, confidence),
    })),
    areas: ranks.length < 2 ? null : eachAxis((axis) => ({
      difference: definedOf(
        areaUnderCurve(ours, axis) - areaUnderCurve(theirs, axis),
      ),
      interval: pairedInterval(
        areasUnder(ours, axis),
        areasUnder(theirs, axis),
        confidence,
      ),
    })),
  };
}

/** The ranks that all sides have. */
function sharedRanks([first, ...others]: readonly Side[]): number[] {
  return first!.curve.ranks.filter((rank) =>
    others.every(({ curve }) => curve.ranks.includes(rank))
  );
}

/** The name of the metric that is a mean over tasks. */
const MEAN = "mean score";

/**
 * Averages the main metric over tasks, for each split and epoch that several
 * tasks have: the methods that all tasks have, at the ranks that all of them
 * have. MNLI counts with its matched set.
 */
function averagesOf(
  compared: readonly Compared[],
  confidence: number,
): Average[] {
  const groups = Map.groupBy(
    compared.filter(({ comparison }) =>
      !comparison.split.endsWith("_mismatched")
    ),
    ({ comparison: { split, epoch } }) =>
      JSON.stringify([split.replace(/_matched$/, ""), epoch]),
  );
  return [...groups].flatMap(([key, group]) => {
    const sides = group.length < 2 ? [] : averageSides(group);
    if (sides.length === 0) return [];
    const [split, epoch] = JSON.parse(key) as [string, Average["epoch"]];
    return [{
      task: `mean-of-${group.length}`,
      title: `Mean over ${group.length} tasks`,
      split,
      epoch,
      metrics: [MEAN],
      tasks: group.map(({ comparison: { task, title, metrics } }) => ({
        task,
        title,
        metric: metrics[0]!,
      })),
      confidence,
      methods: sides.map(({ summary, curve }) => ({
        role: summary.role,
        method: summary.method,
        provenance: summary.provenance,
        variant: summary.variant,
        ranks: curve.ranks.map((rank, i) => ({
          rank,
          metrics: { [MEAN]: { mean: definedOf(curve.scores[i]!) } },
          interval: interval(curve.means[i]!, confidence),
        })),
      })),
      contrasts: pairsOf(sides).map((pair) => {
        const { areas: _, ...contrast } = differenceOf(sides, pair, confidence);
        return contrast;
      }),
    }];
  });
}

/**
 * Mean curves of the methods that all tasks have. A replicate is the mean of
 * one replicate of each task: the tasks' bootstraps are independent, and within
 * each task methods stay paired.
 */
function averageSides([first, ...others]: readonly Compared[]): Side[] {
  return first!.sides.flatMap((side): Side[] => {
    const { summary } = side;
    const same = others.flatMap(({ sides }) =>
      sides.find((other) => methodKey(other.summary) === methodKey(summary)) ??
        []
    );
    const ranks = sharedRanks([side, ...same]);
    if (same.length < others.length || ranks.length === 0) return [];
    const curves = [side, ...same].map(({ curve }) => curveAt(curve, ranks));
    return [{
      summary,
      curve: {
        ranks,
        scores: ranks.map((_, i) => mean(curves.map((it) => it.scores[i]!))),
        means: curves[0]!.means.map((means, i) =>
          means.map((_, r) => mean(curves.map((it) => it.means[i]![r]!)))
        ),
      },
    }];
  });
}

import { capitalized, exactPercent, metricInWords, titleOf } from "./format.ts";
import type { Curves } from "./report.ts";

/** A figure of a report. */
export interface FigureReference {
  /** Scores by rank, seconds of training and evaluation, or losses. */
  readonly kind: "scores" | "cost" | "loss";
  /** Name of its file: `mrpc-validation-cost.svg`. */
  readonly name: string;
  /** What it shows, for readers who do not see it. */
  readonly title: string;
}

/**
 * The figures of a comparison, or of a mean over tasks; those of seconds and
 * losses only if it has trainings.
 */
export function figuresOf(curves: Curves): FigureReference[] {
  const { metrics, methods, confidence } = curves;
  const isTimed = methods.some(({ role, trainings = [] }) =>
    role !== "bound" && trainings.length > 0
  );
  const hasLosses = methods.some(({ trainings = [] }) =>
    trainings.some(({ losses }) => losses.length > 0)
  );
  const banded = bandedMethods(methods);
  const hasAll = methods.every((it) =>
    it.role === "bound" || banded.includes(it)
  );
  const of = hasAll ? "" : ` of ${banded.map(titleOf).join(" and ")}`;
  const level = exactPercent(confidence);
  const scores = `${
    capitalized(metricInWords(metrics[0]!))
  } by rank, with ${level} % intervals${of}`;
  const cost = "Seconds of training and of evaluation, a segment per training";
  const loss = "Training loss by step, a line per training";
  const named = (kind: "cost" | "loss", title: string) => (
    { kind, name: figureName(curves, `-${kind}`), title }
  );
  return [
    { kind: "scores", name: figureName(curves), title: scores },
    ...isTimed ? [named("cost", cost)] : [],
    ...hasLosses ? [named("loss", loss)] : [],
  ];
}

/**
 * Maximum number of methods with adapters that all have intervals in a figure;
 * more bands would hide one another.
 */
const MAX_BANDS = 4;

/**
 * The methods whose intervals a figure shows unless the reader picks others:
 * all of them, or the first candidate and the first baseline if there are more
 * than {@linkcode MAX_BANDS}.
 */
export function bandedMethods(methods: Curves["methods"]): Curves["methods"] {
  const adapted = methods.filter(({ role }) => role !== "bound");
  if (adapted.length <= MAX_BANDS) return adapted;
  return ["candidate", "baseline"].flatMap((role) =>
    adapted.find((method) => method.role === role) ?? []
  );
}

/**
 * File of a comparison's figure of scores by rank, `mrpc-validation.svg`, or
 * with a suffix of another figure.
 */
export function figureName(
  { task, split, epoch }: Pick<Curves, "task" | "split" | "epoch">,
  suffix = "",
): string {
  const safe = (text: string) => text.replace(/[^A-Za-z0-9_.-]+/g, "-");
  const epochs = epoch === "last" ? "" : `-${epoch}-epoch`;
  return `${safe(task)}-${safe(split)}${epochs}${suffix}.svg`;
}

/** What `report.json` holds, as {@linkcode compare} computes it. */
import type { compare } from "./compare.ts";
import type { MethodSummary } from "./summarize.ts";

export type { Mistakes } from "./mistakes.ts";
export type { CostSummary, MethodSummary } from "./summarize.ts";

export interface Report extends ReturnType<typeof compare> {
  /** What is wrong with the data, each a sentence with counts and rows; absent if nothing is. */
  readonly faults?: readonly string[];
}

export type Comparison = Report["comparisons"][number];
/** Means of the main metric over several tasks. */
export type Average = Report["averages"][number];
export type Contrast = Comparison["contrasts"][number];
export type ScoreSummary = MethodSummary["ranks"][number];

/** Scores by rank, of a comparison or of a mean over tasks, which has no verdict and no trainings. */
export interface Curves
  extends
    Omit<Average, "tasks" | "contrasts" | "methods">,
    Partial<Pick<Comparison, "verdict" | "mistakes">> {
  readonly contrasts: readonly (
    & Average["contrasts"][number]
    & Partial<Contrast>
  )[];
  readonly methods: readonly (
    & Average["methods"][number]
    & Partial<Pick<MethodSummary, "recommendation" | "trainings" | "size">>
  )[];
}

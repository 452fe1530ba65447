import { PICKED, SHOWN } from "./chart_style.ts";
import type { Figure } from "./figure.ts";
import { averageFigure, figureName } from "./figure_names.ts";
import { withInterval } from "./format.ts";
import { methodTitle } from "./methods.ts";
import type { Average, Comparison, MethodSummary, Report } from "./report.ts";

/** What the script of the page (`page_script.ts`) reads. */
export type PageData = ReturnType<typeof pageData>;

/** A rank curve by rank. */
export type Panel = PageData["panels"][string];

export function pageData(
  { averages, comparisons }: Report,
  figures: readonly Figure[],
) {
  return {
    picked: PICKED,
    shown: SHOWN,
    figures: Object.fromEntries(figures.map(({ name, spec }) => [name, spec])),
    panels: Object.fromEntries([
      ...averages.map((average) =>
        [averageFigure(average).name, averagePanelOf(average)] as const
      ),
      ...comparisons
        .filter(({ methods }) => methods.some(({ role }) => role !== "bound"))
        .map((comparison) =>
          [figureName(comparison), panelOf(comparison)] as const
        ),
    ]),
  };
}

/** What the page shows of each rank of a comparison. */
function panelOf({ metrics, methods, verdict, epoch }: Comparison) {
  return panel(
    metrics,
    methods,
    ({ role, recommendation, size, trainings, ranks }) => ({
      recommended: role === "candidate" && verdict?.kind !== "nothing-learnt"
        ? recommendation?.rank ?? null
        : null,
      size,
      stages: trainings.map(({ rank, stage }) => ({ rank, stage })),
      scores: Object.fromEntries(
        ranks.map(({ rank, metrics: found, intervals }) => [
          rank,
          metrics.map((metric, i) =>
            withInterval(found[metric]!.mean, i === 0 ? intervals.mean : null)
          ),
        ]),
      ),
    }),
    epoch === "best" ? ["--epoch", epoch] : [],
  );
}

/** What the page shows of each rank of a mean over tasks. */
function averagePanelOf({ methods }: Average) {
  return panel(["mean score"], methods, ({ ranks }) => ({
    recommended: null,
    size: null,
    stages: [],
    scores: Object.fromEntries(
      ranks.map(({ rank, mean, interval }) => [
        rank,
        [withInterval(mean, interval)],
      ]),
    ),
  }), []);
}

/** The panel of a rank curve, as `page_script.ts` reads it. */
function panel<M extends Average["methods"][number] | MethodSummary>(
  metrics: readonly string[],
  methods: readonly M[],
  shown: (method: M) => {
    readonly recommended: number | null;
    readonly size: MethodSummary["size"];
    /** Texts by rank, one per metric; the main one with its interval. */
    readonly scores: Readonly<Record<string, readonly string[]>>;
    /** Stages that made the adapters, with the ranks of these. */
    readonly stages: readonly {
      readonly rank: number;
      readonly stage: string;
    }[];
  },
  /** Of the command that exports an adapter. */
  options: readonly string[],
) {
  const adapted = methods.filter(({ role }) => role !== "bound");
  const ranks = adapted.flatMap((it) => it.ranks.map(({ rank }) => rank));
  return {
    metrics,
    options,
    ranks: [...new Set(ranks)].sort((a, b) => a - b),
    methods: adapted.map((method) => ({
      title: methodTitle(method),
      ...shown(method),
    })),
  };
}

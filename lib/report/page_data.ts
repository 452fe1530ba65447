import { PICKED, SHOWN } from "./chart_style.ts";
import type { Figure } from "./figure.ts";
import { figureName } from "./figure_names.ts";
import { metricTitle, withInterval } from "./format.ts";
import { methodTitle, ranksOf } from "./methods.ts";
import type { Curves, Report } from "./report.ts";

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
    panels: Object.fromEntries(
      [...averages, ...comparisons]
        .filter(({ methods }) => methods.some(({ role }) => role !== "bound"))
        .map((curves) => [figureName(curves), panelOf(curves)]),
    ),
  };
}

/** What the page shows of each rank of a comparison, or of a mean over tasks, which has no adapters to export. */
function panelOf(curves: Curves) {
  const { metrics, methods, epoch, verdict } = curves;
  const adapted = methods.filter(({ role }) => role !== "bound");
  return {
    metrics: metrics.map((metric) => metricTitle(metric, curves)),
    /** Of the command that exports an adapter. */
    options: epoch === "best" ? ["--epoch", epoch] : [],
    ranks: ranksOf(adapted),
    methods: adapted.map((method) => ({
      title: methodTitle(method),
      recommended:
        method.role === "candidate" && verdict?.kind !== "nothing-learnt"
          ? method.recommendation?.rank ?? null
          : null,
      size: method.size ?? null,
      /** Stages that made the adapters, with the ranks of these. */
      stages: (method.trainings ?? [])
        .map(({ rank, stage }) => ({ rank, stage })),
      /** Texts by rank, one per metric; the main one with its interval. */
      scores: Object.fromEntries(
        method.ranks.map(({ rank, metrics: found, interval }) => [
          rank,
          metrics.map((metric, i) =>
            withInterval(found[metric]!.mean, i === 0 ? interval : null)
          ),
        ]),
      ),
    })),
  };
}

import { parse, type Spec, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { significant } from "./format.ts";
import { methodTitle } from "./methods.ts";
import { FADED, FIGURE, keysOf, PICKED, SHOWN } from "./chart_style.ts";
import { figuresOf } from "./figure_names.ts";
import { rankCurve } from "./rank_curve.ts";
import type { Comparison, Report } from "./report.ts";
import { mean } from "./statistics.ts";

/** A figure of a report. */
export interface Figure {
  /** Name of its file: `mrpc-validation.svg`. */
  readonly name: string;
  /** Drawn for paper: black on white. */
  readonly svg: string;
  /** Specification for Vega's runtime, which draws it again to fit its place. */
  readonly spec: Spec;
}

/** Draws the figures of a report that its Markdown refers to. */
export async function renderFigures(
  { averages, comparisons }: Pick<Report, "averages" | "comparisons">,
): Promise<Figure[]> {
  return await Promise.all([
    ...averages.flatMap((average) =>
      figuresOf(average).map(({ name }) => rendered(name, rankCurve(average)))
    ),
    ...comparisons.flatMap((comparison) =>
      figuresOf(comparison).map(({ name, kind }) =>
        rendered(name, SPECIFICATIONS[kind](comparison))
      )
    ),
  ]);
}

const SPECIFICATIONS = {
  scores: rankCurve,
  cost: barChart,
  loss: lossChart,
} as const;

async function rendered(
  name: string,
  specification: TopLevelSpec,
): Promise<Figure> {
  const { spec } = compile(specification);
  const svg = await new View(parse(spec), { renderer: "none" }).toSVG();
  return { name, spec, svg };
}

/** What the script of the page (`page_script.ts`) reads. */
export function pageData(figures: readonly Figure[]) {
  const specs = figures.map(({ name, spec }) => [name, spec] as const);
  return { picked: PICKED, shown: SHOWN, figures: Object.fromEntries(specs) };
}

const PARTS = [
  ["Training", "trainingSeconds"],
  ["Epoch selection", "selectionSeconds"],
  ["Reduction, heads", "reductionSeconds"],
  ["Evaluation", "evaluationSeconds"],
] as const;

/**
 * Seconds of candidates and baselines by training, means over seeds; for a
 * baseline with a speed-up, only the ranks that the speed-up counts.
 */
function barsOf({ methods, contrasts }: Comparison) {
  const compared = methods.map((method, place) => {
    const counted = contrasts.flatMap(({ baseline, speedUp }) =>
      baseline === place && speedUp !== null ? speedUp.ranks : []
    );
    return {
      title: methodTitle(method),
      trainings: method.role === "bound" ? [] : method.trainings
        .filter(({ rank }) => counted.length === 0 || counted.includes(rank)),
    };
  });
  return PARTS.flatMap(([part, field]) =>
    compared.flatMap(({ title, trainings }) =>
      [...Map.groupBy(trainings, ({ rank }) => rank)].map(([rank, group]) => ({
        row: `${title}, ${part.toLowerCase()}`,
        part,
        method: title,
        rank,
        seconds: mean(group.map((training) => training[field])),
      })).filter(({ seconds }) => seconds > 0)
    )
  );
}

/** One bar per method for training and one for evaluation, with a segment per training, each below its title. */
function barChart(comparison: Comparison): TopLevelSpec {
  const bars = barsOf(comparison);
  const rows = [...Map.groupBy(bars, ({ row }) => row).values()];
  const titles = rows.map((group, place) => {
    const total = group.reduce((sum, { seconds }) => sum + seconds, 0);
    const { row, part, method } = group[0]!;
    return { row, place, text: `${part}, ${significant(total)} s: ${method}` };
  });
  const { color } = keysOf([...new Set(bars.map(({ method }) => method))]);
  const y = {
    field: "row",
    type: "nominal",
    // Vega-Lite would put listed names into an expression, whose strings cannot contain all characters.
    sort: { field: "place", op: "min" },
    axis: null,
  } as const;
  return {
    ...FIGURE,
    height: 42 * rows.length,
    layer: [
      {
        mark: {
          type: "bar",
          height: 16,
          yOffset: 9,
          // Separates segments.
          stroke: "white",
          strokeWidth: 1.5,
        },
        data: {
          values: rows.flatMap((group, place) =>
            group.map((bar) => ({ ...bar, place }))
          ),
        },
        encoding: {
          y,
          x: {
            field: "seconds",
            type: "quantitative",
            title: "seconds",
            axis: { tickCount: 5 },
          },
          order: { field: "rank", type: "quantitative" },
          color: { ...color, legend: null },
          tooltip: [
            { field: "row", type: "nominal", title: "method" },
            { field: "rank", type: "quantitative", title: "trained rank" },
            { field: "seconds", type: "quantitative", format: ".3~g" },
          ],
        },
      },
      {
        mark: {
          type: "text",
          align: "left",
          yOffset: -9,
          limit: { expr: "width" },
        },
        data: { values: titles },
        encoding: { y, x: { value: 0 }, text: { field: "text" } },
      },
    ],
  };
}

/** Losses by step, a line per training. */
function lossChart({ methods }: Comparison): TopLevelSpec {
  // Candidates come first, and are drawn last.
  const points = methods.toReversed().flatMap((method) => {
    const title = methodTitle(method);
    return method.trainings.flatMap(({ rank, seed, steps, losses }) =>
      losses.map((loss, i) => ({
        training: `${
          rank === 0 ? title : `${title} of rank ${rank}`
        }, seed ${seed}`,
        method: title,
        step: steps[i]!,
        loss,
      }))
    );
  });
  const shown = methods.filter(({ trainings }) =>
    trainings.some(({ losses }) => losses.length > 0)
  );
  const { color, strokeDash } = keysOf(shown.map(methodTitle));
  return {
    ...FIGURE,
    height: 240,
    data: { values: points },
    params: [{ name: SHOWN, value: [] }],
    mark: "line",
    encoding: {
      x: {
        field: "step",
        type: "quantitative",
        title: "step",
        axis: { grid: false, tickCount: 6 },
      },
      y: { field: "loss", type: "quantitative", title: "training loss" },
      color,
      strokeDash,
      detail: { field: "training", type: "nominal" },
      opacity: FADED,
      tooltip: { field: "training", type: "nominal" },
    },
  };
}

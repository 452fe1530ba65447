import { parse, type Spec, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import {
  capitalized,
  exactPercent,
  formatOf,
  metricTitle,
  significant,
} from "./format.ts";
import { methodTitle, ranksOf } from "./methods.ts";
import { FADED, FIGURE, keysOf, LEGEND_CHOICE } from "./chart_style.ts";
import { bandedMethods, figuresOf } from "./figure_names.ts";
import type { Curves, Report } from "./report.ts";
import { mean } from "./statistics.ts";

/** A figure of a report. */
export interface Figure {
  /** Name of its file: `mrpc-validation.svg`. */
  readonly name: string;
  /** Drawn for paper: black on white. */
  readonly svg: string;
  /** Specification for Vega's runtime, as wide as its container. */
  readonly spec: Spec;
}

/** What the script of the page (`page_script.ts`) reads. */
export interface PageData {
  /** Specifications by the name of the figure. */
  readonly figures: Readonly<Record<string, Spec>>;
}

/** Draws the figures of a report that its Markdown refers to. */
export async function renderFigures(
  { averages, comparisons }: Pick<Report, "averages" | "comparisons">,
): Promise<Figure[]> {
  const references = [...averages, ...comparisons].flatMap((curves) =>
    figuresOf(curves).map(({ name, kind }) => ({ name, kind, curves }))
  );
  return await Promise.all(
    references.map(async ({ name, kind, curves }): Promise<Figure> => {
      const figure = SPECIFICATIONS[kind](curves);
      const { spec } = compile({ ...figure, width: "container" });
      return { name, spec, svg: await svgOf(figure) };
    }),
  );
}

/** The curve of a comparison by rank as SVG, for a light or a dark page. */
export async function rankFigure(
  comparison: Curves,
  theme: "light" | "dark",
): Promise<string> {
  const figure = rankCurve(comparison);
  if (theme === "light") return await svgOf(figure);
  const svg = await svgOf({ ...figure, background: "#0d1117" });
  return svg.replace("<svg ", '<svg color="#e6edf3" ');
}

async function svgOf(figure: TopLevelSpec): Promise<string> {
  const { spec } = compile(figure);
  return await new View(parse(spec), { renderer: "none" }).toSVG();
}

const SPECIFICATIONS = {
  scores: rankCurve,
  cost: barChart,
  loss: lossChart,
} as const;

/**
 * Share of the distance of two ranks over which the points of methods are
 * spread.
 */
const SPREAD = 0.5;

/**
 * The main metric of a comparison, or a mean over tasks, by rank: means as
 * points, intervals as bars, and bounds as horizontal lines. Ranks have equal
 * distances, and methods of a rank stand side by side, so that none covers
 * another. Undefined scores are left out.
 */
function rankCurve(curves: Curves): TopLevelSpec {
  const { metrics, methods, confidence } = curves;
  const [metric] = metrics as [string];
  const { digits } = formatOf(metric);
  const ranks = ranksOf(methods.filter(({ role }) => role !== "bound"));
  const points = pointsOf(curves, ranks);
  const x = rankAxis(ranks);
  const y = {
    type: "quantitative",
    title: capitalized(metricTitle(metric, curves)),
    scale: { zero: false },
  } as const;
  const scored = { y: { ...y, field: "score" }, opacity: FADED } as const;
  const { color, strokeDash, shape } = keysOf(methods.map(methodTitle));
  const interval = `${exactPercent(confidence)} % interval`;
  const number = { type: "quantitative", format: `.${digits}f` } as const;
  const tooltip = [
    { field: "method", type: "nominal" },
    { field: "rank", type: "quantitative" },
    { field: "score", ...number, title: metricTitle(metric, curves) },
    { field: "low", ...number, title: `${interval}, from` },
    { field: "high", ...number, title: "to" },
  ] as const;
  const bounds = points.filter(({ rank }) => rank === 0);
  const boundLayer = {
    mark: { type: "rule", strokeWidth: 2 },
    data: { values: bounds },
    encoding: {
      ...scored,
      strokeDash,
      tooltip: tooltip.filter(({ field }) => field !== "rank"),
    },
  } as const;
  return {
    ...FIGURE,
    height: 300,
    data: { values: points.filter(({ rank }) => rank > 0) },
    encoding: { color },
    layer: [
      {
        mark: { type: "rule", strokeWidth: 1.5 },
        transform: [{ filter: "datum.hasInterval" }],
        encoding: {
          x,
          y: { ...y, field: "low" },
          y2: { field: "high" },
          opacity: {
            condition: { ...FADED.condition, value: 0.55 },
            value: 0.05,
          },
        },
      },
      {
        params: [LEGEND_CHOICE],
        mark: { type: "line", strokeWidth: 1.5 },
        encoding: { ...scored, x, strokeDash },
      },
      {
        mark: { type: "point", size: 55, filled: true },
        encoding: { ...scored, x, shape, tooltip: [...tooltip] },
      },
      ...(bounds.length === 0 ? [] : [boundLayer]),
    ],
  };
}

/** A score of a method at a rank; bounds have the rank 0. */
interface CurvePoint {
  readonly rank: number;
  /** Position on the axis of ranks. */
  readonly position: number;
  /** Title of the method. */
  readonly method: string;
  /** True if the method's intervals are shown. */
  readonly hasInterval: boolean;
  /** Vega leaves out points that are null. */
  readonly score: number | null;
  readonly low: number | null;
  readonly high: number | null;
}

/** The main metric of all methods, side by side at each of the ranks. */
function pointsOf(
  { metrics: [metric], methods }: Curves,
  ranks: readonly number[],
): CurvePoint[] {
  const { factor } = formatOf(metric!);
  const scaled = (value: number | null) =>
    value === null ? null : factor * value;
  const shownWithInterval = bandedMethods(methods);
  const adapted = methods.filter(({ role }) => role !== "bound");
  const step = SPREAD / Math.max(2, adapted.length);
  return methods.flatMap((method) => {
    const offset = step *
      (adapted.indexOf(method) - (adapted.length - 1) / 2);
    return method.ranks.map(({ rank, metrics, interval }): CurvePoint => ({
      rank,
      position: ranks.indexOf(rank) + offset,
      method: methodTitle(method),
      hasInterval: shownWithInterval.includes(method),
      score: scaled(metrics[metric!]!.mean),
      low: scaled(interval?.[0] ?? null),
      high: scaled(interval?.[1] ?? null),
    }));
  });
}

/** An axis of ranks at equal distances, with a tick at each. */
function rankAxis(ranks: readonly number[]) {
  const domain = [-0.5, Math.max(0.5, ranks.length - 0.5)];
  return {
    field: "position",
    type: "quantitative",
    title: "Rank",
    axis: {
      values: ranks.map((_, i) => i),
      labelExpr: `${JSON.stringify(ranks)}[datum.value]`,
      grid: false,
      labelOverlap: true,
    },
    scale: { domain, nice: false },
  } as const;
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
function barsOf({ methods, contrasts }: Curves) {
  const compared = methods.map((method, index) => {
    const { role, trainings = [] } = method;
    const counted = contrasts.flatMap(({ baseline, speedUp }) =>
      baseline === index && speedUp ? speedUp.ranks : []
    );
    return {
      title: methodTitle(method),
      trainings: role === "bound" ? [] : trainings
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

/**
 * One bar per method for training and one for evaluation, with a segment per
 * training, each below its title.
 */
function barChart(curves: Curves): TopLevelSpec {
  const bars = barsOf(curves);
  const rows = [...Map.groupBy(bars, ({ row }) => row).values()];
  const titles = rows.map((group, index) => {
    const total = group.reduce((sum, { seconds }) => sum + seconds, 0);
    const { row, part, method } = group[0]!;
    return { row, index, text: `${part}, ${significant(total)} s: ${method}` };
  });
  const { color } = keysOf([...new Set(bars.map(({ method }) => method))]);
  const y = {
    field: "row",
    type: "nominal",
    // Vega-Lite would put listed names into an expression, whose strings cannot
    // contain all characters.
    sort: { field: "index", op: "min" },
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
          values: rows.flatMap((group, index) =>
            group.map((bar) => ({ ...bar, index }))
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

/** Name of the data of {@linkcode lossCurve}. */
export const LOSS_POINTS = "points";

/**
 * The loss of one training by step, for a page that gives it its points while
 * it goes on: `{ step, loss }` of the data {@linkcode LOSS_POINTS}.
 */
export function lossCurve(): Spec {
  return compile({
    ...FIGURE,
    width: "container",
    height: 110,
    background: "transparent",
    data: { name: LOSS_POINTS },
    mark: { type: "line", point: { size: 18 } },
    encoding: {
      x: STEP_AXIS,
      y: {
        field: "loss",
        type: "quantitative",
        title: "loss",
        axis: { tickCount: 4 },
        scale: { zero: false },
      },
      tooltip: [
        { field: "step", type: "quantitative" },
        { field: "loss", type: "quantitative", format: ".4f" },
      ],
    },
  }).spec;
}

/** The steps of a training. */
const STEP_AXIS = {
  field: "step",
  type: "quantitative",
  title: "step",
  axis: { grid: false, tickCount: 6 },
} as const;

/** Losses by step, a line per training. */
function lossChart({ methods }: Curves): TopLevelSpec {
  // Candidates come first, and are drawn last.
  const points = methods.toReversed().flatMap((method) => {
    const title = methodTitle(method);
    const { trainings = [] } = method;
    return trainings.flatMap(({ rank, seed, steps, losses }) =>
      losses.map((loss, i) => ({
        training: `${title}${rank ? ` of rank ${rank}` : ""}, seed ${seed}`,
        method: title,
        step: steps[i]!,
        loss,
      }))
    );
  });
  const shown = methods.filter(({ trainings = [] }) =>
    trainings.some(({ losses }) => losses.length > 0)
  );
  const { color, strokeDash } = keysOf(shown.map(methodTitle));
  return {
    ...FIGURE,
    height: 240,
    data: { values: points },
    params: [LEGEND_CHOICE],
    mark: "line",
    encoding: {
      x: STEP_AXIS,
      y: { field: "loss", type: "quantitative", title: "training loss" },
      color,
      strokeDash,
      detail: { field: "training", type: "nominal" },
      opacity: FADED,
      tooltip: { field: "training", type: "nominal" },
    },
  };
}

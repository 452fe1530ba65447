import { parse, type Spec, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { exactPercent, formatOf, metricTitle, significant } from "./format.ts";
import { methodTitle, ranksOf } from "./methods.ts";
import {
  FADED,
  FIGURE,
  IS_SHOWN,
  keysOf,
  PICKED,
  SHOWN,
} from "./chart_style.ts";
import { bandedMethods, figuresOf } from "./figure_names.ts";
import type { Curves, Report } from "./report.ts";
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
  return await Promise.all(
    [...averages, ...comparisons].flatMap((curves) =>
      figuresOf(curves).map(async ({ name, kind }): Promise<Figure> => {
        const { spec } = compile(SPECIFICATIONS[kind](curves));
        const view = new View(parse(spec), { renderer: "none" });
        return { name, spec, svg: await view.toSVG() };
      })
    ),
  );
}

const SPECIFICATIONS = {
  scores: rankCurve,
  cost: barChart,
  loss: lossChart,
} as const;

/** What the script of the page (`page_script.ts`) reads. */
export function pageData(figures: readonly Figure[]) {
  const specs = figures.map(({ name, spec }) => [name, spec] as const);
  return { picked: PICKED, shown: SHOWN, figures: Object.fromEntries(specs) };
}

/**
 * The main metric of a comparison, or a mean over tasks, by rank: means as
 * lines, intervals as bands, and bounds as horizontal lines. Undefined scores
 * are left out. The recommended rank is picked at first.
 */
function rankCurve(curves: Curves): TopLevelSpec {
  const { metrics, methods, confidence, verdict } = curves;
  const [metric] = metrics as [string];
  const { factor, digits } = formatOf(metric);
  const scaled = (value: number | null) =>
    value === null ? null : factor * value;
  const picked = !verdict || verdict.kind === "nothing-learnt"
    ? 0
    : verdict.recommended.rank;
  const banded = bandedMethods(methods);
  const points = methods.flatMap((method) =>
    method.ranks.map(({ rank, metrics, interval }) => ({
      rank,
      method: methodTitle(method),
      isBanded: banded.includes(method),
      // Vega leaves out points that are null.
      score: scaled(metrics[metric]!.mean),
      low: scaled(interval?.[0] ?? null),
      high: scaled(interval?.[1] ?? null),
    }))
  );
  const lines = points.filter(({ rank }) => rank > 0);
  const ranks = ranksOf([{ ranks: lines }]);
  const x = rankAxis(ranks);
  const y = {
    type: "quantitative",
    title: metricTitle(metric, curves),
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
  return {
    ...FIGURE,
    height: 320,
    params: [{ name: PICKED, value: picked }, { name: SHOWN, value: [] }],
    data: { values: lines },
    encoding: { color },
    layer: [
      {
        mark: { type: "rule", color: "#88888844", strokeWidth: 10 },
        data: { values: ranks.map((rank) => ({ rank })) },
        transform: [{ filter: `datum.rank === ${PICKED}` }],
        encoding: { x, color: { value: "#88888844" } },
      },
      {
        mark: { type: "area" },
        encoding: {
          x,
          y: { ...y, field: "low" },
          y2: { field: "high" },
          opacity: {
            condition: {
              test: `length(${SHOWN}) ? ${IS_SHOWN} : datum.isBanded`,
              value: 0.18,
            },
            value: 0,
          },
        },
      },
      { mark: { type: "line" }, encoding: { ...scored, x, strokeDash } },
      {
        mark: { type: "point", size: 50, filled: true },
        encoding: { ...scored, x, shape, tooltip: [...tooltip] },
      },
      {
        mark: { type: "rule", strokeWidth: 2 },
        data: { values: points.filter(({ rank }) => rank === 0) },
        encoding: {
          ...scored,
          strokeDash,
          tooltip: tooltip.filter(({ field }) => field !== "rank"),
        },
      },
    ],
  };
}

function rankAxis(ranks: number[]) {
  const ends = [ranks[0] ?? 1, ranks.at(-1) ?? 1] as [number, number];
  return {
    field: "rank",
    type: "quantitative",
    title: "rank",
    axis: { values: ranks, format: "d", grid: false, labelOverlap: true },
    scale: {
      // Large ranks are usually powers of two.
      type: ends[1] > 16 ? "log" : "linear",
      domain: ends,
      nice: false,
      padding: 12,
    },
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
  const compared = methods.map((method, place) => {
    const { role, trainings = [] } = method;
    const counted = contrasts.flatMap(({ baseline, speedUp }) =>
      baseline === place && speedUp ? speedUp.ranks : []
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

/** One bar per method for training and one for evaluation, with a segment per training, each below its title. */
function barChart(curves: Curves): TopLevelSpec {
  const bars = barsOf(curves);
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

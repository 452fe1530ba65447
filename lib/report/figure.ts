import { parse, type Spec, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { significant } from "./format.ts";
import { methodTitle } from "./methods.ts";
import { averageFigure, bandedMethods, figuresOf } from "./markdown.ts";
import type { Average, Comparison, MethodSummary, Report } from "./report.ts";
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

/** Name of the signal of a rank curve whose value is the rank that the reader picks. */
export const PICKED = "picked";

/** Name of the signal whose value is the list of methods that the reader picks; all are shown if it is empty. */
export const SHOWN = "shown";

/** Palette of Okabe and Ito (2008), safe for colour-blind readers, with the colour of the text as its black; further methods reuse it with other dashes. */
const COLOURS = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#e69f00",
  "#56b4e9",
  "currentColor",
];

const DASHES = [[1, 0], [6, 3], [2, 2]];

const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross"];

/** Width of a drawn figure with its axes, in pixels. */
const WIDTH = 640;

/** Looks of all figures. On a page, `currentColor` is the colour of its text. */
const CONFIG = {
  background: "white",
  font: "system-ui, sans-serif",
  axis: {
    labelColor: "currentColor",
    titleColor: "currentColor",
    domainColor: "currentColor",
    tickColor: "currentColor",
    gridColor: "#88888844",
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: "normal",
  },
  legend: {
    labelColor: "currentColor",
    labelFontSize: 12,
    symbolSize: 80,
    symbolOpacity: 1,
  },
  text: { color: "currentColor", fontSize: 12 },
  view: { stroke: null },
} as const;

/** Methods whose main metric a rank curve shows. */
interface Curves {
  readonly metric: string;
  readonly confidence: number;
  readonly methods:
    readonly (Pick<MethodSummary, "role" | "method" | "variant"> & {
      readonly ranks: readonly CurvePoint[];
    })[];
  /** Rank that is picked at first; 0 for none. */
  readonly picked: number;
}

interface CurvePoint {
  readonly rank: number;
  /** Null if undefined. */
  readonly mean: number | null;
  readonly interval: readonly [number, number] | null;
}

/** Draws the figures of a report that its Markdown refers to. */
export async function renderFigures(
  { averages, comparisons }: Pick<Report, "averages" | "comparisons">,
): Promise<Figure[]> {
  const figures: Promise<Figure>[] = [
    ...averages.map((average) =>
      rendered(averageFigure(average), averageCurves(average))
    ),
    ...comparisons.flatMap((comparison) =>
      figuresOf(comparison).map((figure) =>
        rendered(figure, SPECIFICATIONS[figure.kind](comparison))
      )
    ),
  ];
  return await Promise.all(figures);
}

const SPECIFICATIONS = {
  scores: scoreCurves,
  cost: barChart,
  loss: lossChart,
} as const;

async function rendered(
  { name }: Pick<Figure, "name">,
  specification: TopLevelSpec,
): Promise<Figure> {
  const { spec } = compile(specification);
  const svg = await new View(parse(spec), { renderer: "none" }).toSVG();
  return { name, spec, svg };
}

function scoreCurves({ metrics, methods, confidence, verdict }: Comparison) {
  const [metric] = metrics as [string];
  return rankCurve({
    metric,
    confidence,
    methods: methods.map((method) => ({
      ...method,
      ranks: method.ranks.map(({ rank, metrics, intervals }) => ({
        rank,
        mean: metrics[metric]!.mean,
        interval: intervals.mean,
      })),
    })),
    picked: verdict === null || verdict.kind === "nothing-learnt"
      ? 0
      : verdict.recommended.rank,
  });
}

function averageCurves({ methods, confidence }: Average) {
  return rankCurve({ metric: "mean score", confidence, methods, picked: 0 });
}

/**
 * Means as lines, intervals as bands, and bounds as horizontal lines. Undefined
 * scores are left out.
 */
function rankCurve(
  { metric, confidence, methods, picked }: Curves,
): TopLevelSpec {
  const banded = bandedMethods(methods);
  const points = methods.flatMap((method) =>
    method.ranks.map(({ rank, mean, interval }) => ({
      rank,
      method: methodTitle(method),
      isBanded: banded.includes(method),
      // Vega leaves out points that are null.
      score: scaled(mean),
      low: scaled(interval?.[0] ?? null),
      high: scaled(interval?.[1] ?? null),
    }))
  );
  const curves = points.filter(({ rank }) => rank > 0);
  const ranks = [...new Set(curves.map(({ rank }) => rank))]
    .sort((a, b) => a - b);
  const x = rankAxis(ranks);
  const y = {
    type: "quantitative",
    title: `${metric} x 100`,
    scale: { zero: false },
  } as const;
  const { color, strokeDash, shape } = keysOf(methods.map(methodTitle));
  const interval = `${Number((100 * confidence).toPrecision(12))} % interval`;
  const score = {
    field: "score",
    type: "quantitative",
    format: ".1f",
  } as const;
  const tooltip = [
    { field: "method", type: "nominal" },
    { field: "rank", type: "quantitative" },
    { ...score, title: metric },
    {
      field: "low",
      type: "quantitative",
      format: ".1f",
      title: `${interval}, from`,
    },
    { field: "high", type: "quantitative", format: ".1f", title: "to" },
  ] as const;
  return {
    width: WIDTH,
    height: 320,
    autosize: { type: "fit-x", contains: "padding" },
    params: [{ name: PICKED, value: picked }, { name: SHOWN, value: [] }],
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
        data: { values: curves },
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
      {
        mark: { type: "line" },
        data: { values: curves },
        encoding: {
          x,
          y: { ...y, field: "score" },
          strokeDash,
          opacity: FADED,
        },
      },
      {
        mark: { type: "point", size: 50, filled: true },
        data: { values: curves },
        encoding: {
          x,
          y: { ...y, field: "score" },
          shape,
          opacity: FADED,
          tooltip: [...tooltip],
        },
      },
      {
        mark: { type: "rule", strokeWidth: 2 },
        data: { values: points.filter(({ rank }) => rank === 0) },
        encoding: {
          y: { ...y, field: "score" },
          strokeDash,
          opacity: FADED,
          tooltip: tooltip.filter(({ field }) => field !== "rank"),
        },
      },
    ],
    config: CONFIG,
  };
}

const IS_SHOWN = `indexof(${SHOWN}, datum.method) >= 0`;

/** Opacity of a method, small for those that the reader did not pick. */
const FADED = {
  condition: { test: `!length(${SHOWN}) || ${IS_SHOWN}`, value: 1 },
  value: 0.12,
} as const;

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

/** Colours, dashes and shapes by method title. */
function keysOf(titles: readonly string[]) {
  const method = { field: "method", type: "nominal", title: null } as const;
  const scale = <T>(range: (place: number) => T) => ({
    domain: [...titles],
    range: titles.map((_, place) => range(place)),
  });
  // As many columns as the longest title allows; a longer one is cut.
  const longest = Math.max(...titles.map(({ length }) => length));
  const legend = {
    orient: "top",
    columns: { expr: `max(1, floor(width / ${7 * longest + 40}))` },
    labelLimit: { expr: "width - 30" },
  } as const;
  return {
    color: {
      ...method,
      scale: scale((place) => COLOURS[place % COLOURS.length]!),
      legend,
    },
    strokeDash: {
      ...method,
      scale: scale((place) =>
        DASHES[Math.floor(place / COLOURS.length) % DASHES.length]!
      ),
      legend,
    },
    shape: {
      ...method,
      scale: scale((place) => SHAPES[place % SHAPES.length]!),
      legend,
    },
  } as const;
}

function scaled(share: number | null): number | null {
  return share === null ? null : 100 * share;
}

/** A part of a bar: the seconds of one training, or of evaluating it; means over seeds. */
interface Bar {
  readonly row: string;
  readonly part: string;
  readonly method: string;
  readonly rank: number;
  readonly seconds: number;
}

const PARTS = [
  ["Training", "trainingSeconds"],
  ["Epoch selection", "selectionSeconds"],
  ["Reduction", "reductionSeconds"],
  ["Evaluation", "evaluationSeconds"],
] as const;

/**
 * Seconds of candidates and baselines by training. Of a baseline with a
 * speed-up, only the ranks that it counts.
 */
function barsOf({ methods, contrasts }: Comparison): Bar[] {
  const compared = methods.map((method, place) => {
    const counted = contrasts.find((it) =>
      it.baseline === place && it.speedUp !== null
    )?.speedUp?.ranks;
    return {
      title: methodTitle(method),
      trainings: method.role === "bound" ? [] : method.trainings
        .filter(({ rank }) =>
          counted === undefined || rank <= Math.max(...counted)
        ),
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
  const rows = [...Map.groupBy(bars, ({ row }) => row)];
  const titles = rows.map(([row, group]) => {
    const total = group.reduce((sum, { seconds }) => sum + seconds, 0);
    const [{ part, method }] = group as [Bar];
    return { row, text: `${part}, ${significant(total)} s: ${method}` };
  });
  const { color } = keysOf([...new Set(bars.map(({ method }) => method))]);
  const y = {
    field: "row",
    type: "nominal",
    sort: rows.map(([row]) => row),
    axis: null,
  } as const;
  return {
    width: WIDTH,
    height: 42 * rows.length,
    autosize: { type: "fit-x", contains: "padding" },
    layer: [
      {
        mark: {
          type: "bar",
          height: 16,
          yOffset: 9,
          // Separates segments; on a page, in the colour of its ground.
          stroke: "white",
          strokeWidth: 1.5,
        },
        data: { values: bars },
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
    config: CONFIG,
  };
}

interface LossPoint {
  readonly training: string;
  readonly method: string;
  readonly step: number;
  readonly loss: number;
}

function lossesOf(method: MethodSummary): LossPoint[] {
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
}

/** Losses by step, a line per training. */
function lossChart({ methods }: Comparison): TopLevelSpec {
  // Candidates come first, and are drawn last.
  const points = methods.toReversed().flatMap(lossesOf);
  const shown = methods.filter(({ trainings }) =>
    trainings.some(({ losses }) => losses.length > 0)
  );
  const { color, strokeDash } = keysOf(shown.map(methodTitle));
  return {
    width: WIDTH,
    height: 240,
    autosize: { type: "fit-x", contains: "padding" },
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
    config: CONFIG,
  };
}

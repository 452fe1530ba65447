import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { methodTitle } from "./methods.ts";
import type { Comparison } from "./report.ts";

/** Maximum number of curves with interval bands; more bands would hide one another. */
const MAX_BANDS = 4;

/** Palette of Okabe and Ito (2008), safe for colour-blind readers; further methods reuse it with other dashes. */
const COLOURS = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#e69f00",
  "#56b4e9",
  "#000000",
];

const DASHES = [[1, 0], [6, 3], [2, 2]];

/**
 * Draws the main metric of all methods by rank as SVG: means as lines, their
 * intervals as bands unless there are too many, and bounds as horizontal lines.
 * Undefined scores are left out.
 */
export function renderFigure(comparison: Comparison): Promise<string> {
  const { spec } = compile(specificationOf(comparison));
  return new View(parse(spec), { renderer: "none" }).toSVG();
}

function specificationOf(comparison: Comparison): TopLevelSpec {
  const metric = comparison.metrics[0]!;
  const points = pointsOf(comparison, metric);
  const curves = points.filter(({ rank }) => rank > 0);
  const x = rankAxis(curves.map(({ rank }) => rank));
  const y = {
    type: "quantitative",
    title: `${metric} x 100`,
    scale: { zero: false },
  } as const;
  const { color, strokeDash } = keysOf(comparison.methods.map(methodTitle));
  const drawn = comparison.methods.filter(({ role }) => role !== "bound");
  const bands = drawn.length > MAX_BANDS ? [] : [{
    mark: { type: "area" as const, opacity: 0.15 },
    data: { values: curves },
    encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" } },
  }];
  return {
    width: 560,
    height: 320,
    encoding: { color },
    layer: [
      ...bands,
      {
        mark: { type: "line", point: { size: 40 } },
        data: { values: curves },
        encoding: { x, y: { ...y, field: "score" }, strokeDash },
      },
      {
        mark: { type: "rule", strokeWidth: 1.5, opacity: 0.8 },
        data: { values: points.filter(({ rank }) => rank === 0) },
        encoding: { y: { ...y, field: "score" }, strokeDash },
      },
    ],
    config: {
      background: "white",
      font: "sans-serif",
      axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
      legend: { labelFontSize: 12 },
      view: { stroke: null },
    },
  };
}

function rankAxis(values: readonly number[]) {
  const ranks = [...new Set(values)].sort((a, b) => a - b);
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

/** Colours and dashes by method title. */
function keysOf(titles: readonly string[]) {
  const method = { field: "method", type: "nominal", title: null } as const;
  const scale = <T>(range: (place: number) => T) => ({
    domain: [...titles],
    range: titles.map((_, place) => range(place)),
  });
  return {
    color: {
      ...method,
      scale: scale((place) => COLOURS[place % COLOURS.length]!),
      legend: {
        orient: "top",
        columns: 3,
        labelLimit: 0,
        symbolOpacity: 1,
      },
    },
    strokeDash: {
      ...method,
      scale: scale((place) =>
        DASHES[Math.floor(place / COLOURS.length) % DASHES.length]!
      ),
    },
  } as const;
}

function pointsOf({ methods }: Comparison, metric: string) {
  return methods.flatMap((method) =>
    method.ranks.map(({ rank, metrics, intervals }) => ({
      rank,
      method: methodTitle(method),
      // Vega leaves out points that are null.
      score: scaled(metrics[metric]!.mean),
      low: scaled(intervals.mean?.[0] ?? null),
      high: scaled(intervals.mean?.[1] ?? null),
    }))
  );
}

function scaled(share: number | null): number | null {
  return share === null ? null : 100 * share;
}

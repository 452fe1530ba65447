import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Comparison } from "./report.ts";
import { methodTitle } from "./words.ts";

/**
 * Draws the scores of all methods over rank as SVG: the first metric's means
 * as lines, their intervals as bands.
 */
export function renderFigure(comparison: Comparison): Promise<string> {
  const { spec } = compile(specificationOf(comparison));
  return new View(parse(spec), { renderer: "none" }).toSVG();
}

function specificationOf(comparison: Comparison): TopLevelSpec {
  const metric = comparison.metrics[0]!;
  const values = comparison.methods.flatMap((method) =>
    method.ranks.map(({ rank, metrics, interval }) => ({
      rank,
      method: methodTitle(method),
      // JSON's null, not NaN: Vega leaves the point out.
      score: scaled(metrics[metric]!.mean),
      low: scaled(interval?.[0] ?? null),
      high: scaled(interval?.[1] ?? null),
    }))
  );
  const ranks = [...new Set(values.map(({ rank }) => rank))]
    .sort((a, b) => a - b);
  return {
    width: 520,
    height: 300,
    data: { values },
    encoding: {
      x: {
        field: "rank",
        type: "quantitative",
        title: "rank",
        axis: { values: ranks, format: "d", grid: false },
        scale: { domain: [ranks[0]!, ranks.at(-1)!], nice: false, padding: 12 },
      },
      color: {
        field: "method",
        type: "nominal",
        title: null,
        // In the order of the tables; colours of Okabe and Ito, told apart by all eyes.
        scale: {
          domain: comparison.methods.map(methodTitle),
          range: [
            "#0072b2",
            "#d55e00",
            "#009e73",
            "#cc79a7",
            "#e69f00",
            "#56b4e9",
          ],
        },
        legend: { orient: "top", symbolOpacity: 1 },
      },
    },
    layer: [
      {
        mark: { type: "area", opacity: 0.15 },
        encoding: {
          y: {
            field: "low",
            type: "quantitative",
            title: `${metric} x 100`,
            scale: { zero: false },
          },
          y2: { field: "high" },
        },
      },
      {
        mark: { type: "line", point: { size: 45 } },
        encoding: { y: { field: "score", type: "quantitative" } },
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

function scaled(share: number | null): number | null {
  return share === null ? null : 100 * share;
}

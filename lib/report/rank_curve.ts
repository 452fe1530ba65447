import type { TopLevelSpec } from "vega-lite";
import {
  FADED,
  FIGURE,
  IS_SHOWN,
  keysOf,
  PICKED,
  SHOWN,
} from "./chart_style.ts";
import { bandedMethods } from "./figure_names.ts";
import { exactPercent } from "./format.ts";
import { methodTitle, ranksOf } from "./methods.ts";
import type { Curves } from "./report.ts";

/**
 * The main metric of a comparison, or a mean over tasks, by rank: means as
 * lines, intervals as bands, and bounds as horizontal lines. Undefined scores
 * are left out. The recommended rank is picked at first.
 */
export function rankCurve(
  { metrics, methods, confidence, verdict }: Curves,
): TopLevelSpec {
  const [metric] = metrics as [string];
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
  const curves = points.filter(({ rank }) => rank > 0);
  const ranks = ranksOf([{ ranks: curves }]);
  const x = rankAxis(ranks);
  const y = {
    type: "quantitative",
    title: `${metric} x 100`,
    scale: { zero: false },
  } as const;
  const scored = { y: { ...y, field: "score" }, opacity: FADED } as const;
  const { color, strokeDash, shape } = keysOf(methods.map(methodTitle));
  const interval = `${exactPercent(confidence)} % interval`;
  const number = { type: "quantitative", format: ".1f" } as const;
  const tooltip = [
    { field: "method", type: "nominal" },
    { field: "rank", type: "quantitative" },
    { field: "score", ...number, title: metric },
    { field: "low", ...number, title: `${interval}, from` },
    { field: "high", ...number, title: "to" },
  ] as const;
  return {
    ...FIGURE,
    height: 320,
    params: [{ name: PICKED, value: picked }, { name: SHOWN, value: [] }],
    data: { values: curves },
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

function scaled(share: number | null): number | null {
  return share === null ? null : 100 * share;
}

import { FIGURE } from "../report/chart_style.ts";
import type { Spectrum } from "./choose.ts";
import type { Ranks } from "./rewrite.ts";

/**
 * Draws the singular values of all modules, relative to the largest of each, by
 * their index: the median as a line, half of the modules and all of them as
 * bands, and the median rank that was kept as a rule.
 *
 * @returns An SVG
 */
export async function drawSpectra(
  spectra: readonly Spectrum[],
  ranks: Ranks,
): Promise<string> {
  const [{ parse, View }, { compile }] = await Promise.all([
    import("vega"),
    import("vega-lite"),
  ]);
  const points = spectra.flatMap(({ values }) =>
    Array.from(values, (value, i) => (
      { index: i + 1, value: value / values[0]! }
    ))
  ).filter(({ value }) => value > FLOOR);
  const kept = [...ranks.values()].sort((a, b) => a - b);
  const x = {
    field: "index",
    type: "quantitative",
    title: "index of the singular value",
    scale: { zero: false, nice: false },
  } as const;
  const y = (aggregate: "min" | "q1" | "median") =>
    ({
      aggregate,
      field: "value",
      type: "quantitative",
      title: "singular value / largest of its module",
      scale: { type: "log" },
    }) as const;
  const band = (from: "min" | "q1", to: "max" | "q3") =>
    ({
      mark: { type: "area", color: "#0072b2", opacity: 0.2 },
      encoding: { x, y: y(from), y2: { aggregate: to, field: "value" } },
    }) as const;
  const { spec } = compile({
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    width: FIGURE.width,
    height: 320,
    data: { values: points },
    layer: [
      band("min", "max"),
      band("q1", "q3"),
      {
        mark: {
          type: "line",
          color: "#0072b2",
          point: points.every(({ index }) => index === 1),
        },
        encoding: { x, y: y("median") },
      },
      {
        data: { values: [{ index: kept[Math.floor(kept.length / 2)] }] },
        mark: { type: "rule", color: "#d55e00", strokeDash: [6, 3] },
        encoding: { x },
      },
    ],
    config: FIGURE.config,
  });
  return await new View(parse(spec), { renderer: "none" }).toSVG();
}

/**
 * Relative singular values up to this are rounding errors of float32 factors.
 */
const FLOOR = 1e-9;

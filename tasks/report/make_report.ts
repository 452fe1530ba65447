import { join } from "node:path";
import { METRICS } from "../../lib/glue/metrics.ts";
import { compare } from "../../lib/report/compare.ts";
import { renderMarkdown } from "../../lib/report/markdown.ts";
import { Report } from "../../lib/report/report.ts";
import type { Result } from "../../lib/report/result.ts";
import type { Metric } from "../../lib/report/statistics/bootstrap.ts";
import { seededDraw } from "../../lib/report/statistics/draw.ts";
import { writeJsonFile } from "../artifacts/json_file.ts";

/** How intervals and recommendations are made. */
export interface ReportSettings {
  readonly replicates: number;
  readonly confidence: number;
  readonly margin: number;
}

/**
 * Writes `report.json` and `report.md`.
 *
 * @returns The report as Markdown.
 */
export async function makeReport(
  folder: string,
  results: readonly Result[],
  settings: ReportSettings,
): Promise<string> {
  const report = Report.parse(
    compare(results, { ...settings, metric: metricOf, draw: seededDraw(0) }),
  );
  const markdown = renderMarkdown(report);
  await writeJsonFile(join(folder, "report.json"), report);
  await Deno.writeTextFile(join(folder, "report.md"), markdown);
  return markdown;
}

function metricOf(name: string): Metric {
  if (Object.hasOwn(METRICS, name)) {
    return METRICS[name as keyof typeof METRICS];
  }
  throw new TypeError(
    `Metric "${name}" is not one of ${Object.keys(METRICS).join(", ")}`,
  );
}

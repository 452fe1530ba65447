import { join } from "node:path";
import { METRICS } from "../../lib/glue/metrics.ts";
import { summarizeChoices } from "../../lib/report/choices.ts";
import { compare } from "../../lib/report/compare.ts";
import { renderFigure } from "../../lib/report/figure.ts";
import { figureName, renderMarkdown } from "../../lib/report/markdown.ts";
import { renderPage } from "../../lib/report/page.ts";
import { Report } from "../../lib/report/report.ts";
import type { ChoiceResult, Result } from "../../lib/report/result.ts";
import { type Metric, seededDraw } from "../../lib/report/statistics.ts";
import { writeJsonFile } from "../artifacts/json_file.ts";

/** How intervals and recommendations are made. */
export interface ReportSettings {
  readonly replicates: number;
  readonly confidence: number;
  readonly margin: number;
}

/**
 * Writes `report.json`, `report.md` with a figure beside it for each
 * comparison, and all in one as `report.html`.
 */
export async function makeReport(
  folder: string,
  results: readonly Result[],
  choices: readonly ChoiceResult[],
  settings: ReportSettings,
): Promise<void> {
  const report = Report.parse({
    ...compare(results, { ...settings, metric: metricOf, draw: seededDraw(0) }),
    choices: summarizeChoices(choices),
  });
  const markdown = renderMarkdown(report);
  const figures = new Map<string, string>();
  for (const comparison of report.comparisons) {
    figures.set(figureName(comparison), await renderFigure(comparison));
  }
  await writeJsonFile(join(folder, "report.json"), report);
  const texts = [
    ["report.md", markdown],
    ["report.html", renderPage(markdown, figures)],
    ...figures,
  ] as const;
  for (const [name, text] of texts) {
    await Deno.writeTextFile(join(folder, name), text);
  }
}

function metricOf(name: string): Metric {
  if (Object.hasOwn(METRICS, name)) {
    return METRICS[name as keyof typeof METRICS];
  }
  throw new TypeError(
    `Metric "${name}" is not one of ${Object.keys(METRICS).join(", ")}`,
  );
}

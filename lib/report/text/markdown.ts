import type { Comparison, Report } from "../report.ts";
import { averageText } from "./averages.ts";
import { choicesText } from "./choices.ts";
import { costText } from "./costs.ts";
import { differencesText } from "./differences.ts";
import { protocolText } from "./protocol.ts";
import { publishedText } from "./published.ts";
import { recommendationText } from "./recommendation.ts";
import { scoresText } from "./scores.ts";
import { figureName, plain } from "./words.ts";

/** A report as Markdown: means over several tasks, what is published of them, and for each task its scores by rank, the rank to take, and its costs; at last the ranks chosen by module. */
export function renderMarkdown(report: Report): string {
  const parts = report.comparisons.flatMap((comparison) => [
    `## ${titleOf(comparison)}`,
    ...protocolText(comparison),
    `![Scores by rank](${figureName(comparison)})`,
    ...scoresText(comparison),
    ...differencesText(comparison),
    ...recommendationText(comparison),
    ...costText(comparison),
  ]);
  return [
    "# Report",
    ...report.averages.flatMap(averageText),
    ...publishedText(report),
    ...parts,
    ...choicesText(report.choices),
  ].join("\n\n") + "\n";
}

function titleOf({ title, epoch }: Comparison): string {
  return plain(title) + (epoch === "best" ? ", best epoch" : "");
}

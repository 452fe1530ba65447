import { explain, type Explanation } from "../../scheduler/plan.ts";
import type { Change, CodeHunk } from "../../scheduler/changes.ts";
import type { Command, Given } from "../arguments.ts";
import { engineRuntime } from "../engine.ts";
import { EXIT } from "../exit.ts";
import { openGraph, selectedStages } from "../open_graph.ts";
import {
  ENGINE,
  GPUS,
  GRAPH_OPTIONS,
  HELP,
  JSON_LINES,
  settingsOf,
} from "../options.ts";
import { writeOut } from "../render/choose.ts";
import { type Style, styleFor } from "../render/style.ts";
import { clip } from "../render/words.ts";

/** Statements of a change of code that are shown. */
const MOST_STATEMENTS = 12;

/** `deno task explain`: says why a stage is where it is. */
export const command: Command = {
  name: "explain",
  usage: "PIPELINE [STAGE...]",
  description:
    `Say why stages are where they are: everything that is in the key of each, and how it differs from the nearest earlier result, down to the parameter, the input, or the lines of code that changed. Without a STAGE, all are explained.`,
  options: [...GRAPH_OPTIONS, ENGINE, GPUS, JSON_LINES, HELP],
  examples: [
    ["smoke train-dylora", "Say why this stage runs"],
    [
      "glue-mini train-dylora@mrpc -S train.mrpc.epochs=8",
      "Say what a change does",
    ],
  ],
  takes: { least: 1, most: Infinity },
  run: explainStages,
};

async function explainStages(given: Given): Promise<number> {
  const settings = await settingsOf(given);
  const { graph } = await openGraph(given, settings.out);
  const selected = await selectedStages(graph, given.positionals.slice(1));
  const stages = selected.length > 0 ? selected : [...graph.stages.keys()];
  const style = styleFor(Deno.stdout);
  const engine = engineRuntime(given, () => {}, new AbortController().signal);
  for (const id of stages) {
    const explanation = await explain(graph, id, {
      ...settings,
      runtimes: { engine },
    });
    writeOut(
      given.has("json")
        ? `${JSON.stringify(explanation)}\n`
        : `${explanationText(explanation, style)}\n`,
    );
  }
  return EXIT.fine;
}

function explanationText(
  { stage, decision, parts, nearest }: Explanation,
  style: Style,
): string {
  const reason = "reason" in decision ? ` - ${decision.reason}` : "";
  const lines = [`${style.bold(stage)}: ${decision.state}${reason}`];
  if (nearest !== undefined) {
    const when = nearest.started.replace("T", " ").replace(/\..*/, "");
    lines.push("", `  Compared with the result of ${when}:`);
    for (const change of nearest.changes) {
      lines.push(`    ${changeText(change)}`);
      const hunks = nearest.code.filter(({ module }) => module === change.name);
      if (change.kind === "code") {
        lines.push(...hunks.flatMap((hunk) => hunkLines(hunk, style)));
      }
    }
  }
  if (parts !== undefined) {
    lines.push("", "  Its key:", ...partLines(parts));
  }
  return [...lines, ""].join("\n");
}

function changeText({ kind, name, before, after }: Change): string {
  if (kind === "code") {
    const what = before === undefined
      ? "is new"
      : after === undefined
      ? "is gone"
      : "changed";
    return `code ${name} ${what}`;
  }
  return `${kind} ${name}: ${before ?? "absent"} -> ${after ?? "absent"}`;
}

function hunkLines(
  { module, from, to, removed, added }: CodeHunk,
  style: Style,
): string[] {
  const statements = [
    ...removed.map((text) => style.red(`- ${clip(text, 100)}`)),
    ...added.map((text) => style.green(`+ ${clip(text, 100)}`)),
  ];
  const hidden = statements.length - MOST_STATEMENTS;
  return [
    `      ${module}:${from}${to > from ? `-${to}` : ""}`,
    ...statements.slice(0, MOST_STATEMENTS).map((it) => `        ${it}`),
    ...(hidden > 0 ? [`        and ${hidden} more`] : []),
  ];
}

/** Everything that the key is made from, a line each. */
function partLines(parts: NonNullable<Explanation["parts"]>): string[] {
  return Object.entries(parts).flatMap(([part, value]) =>
    typeof value === "object" && value !== null
      ? Object.entries(value).map(([name, it]) =>
        `    ${part} ${name}: ${shortened(JSON.stringify(it))}`
      )
      : [`    ${part}: ${shortened(String(value))}`]
  );
}

/** The text with digests cut to the letters that tell them apart. */
function shortened(text: string): string {
  return text.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1");
}

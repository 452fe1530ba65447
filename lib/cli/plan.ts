import type { CodeHunk } from "../scheduler/code/code_change.ts";
import { explain, type Explanation } from "../scheduler/decisions/explain.ts";
import type { Change } from "../scheduler/decisions/miss.ts";
import { plan } from "../scheduler/decisions/plan.ts";
import { type StageStatus, status } from "../scheduler/decisions/status.ts";
import type { Decision } from "../scheduler/events.ts";
import { type Command, EXIT, type Given } from "./arguments.ts";
import { engineFacility } from "./engine.ts";
import { clip, count, duration, type Style, styleFor } from "./messages.ts";
import { openGraph, selectedStages } from "./open_pipeline.ts";
import {
  ENGINE,
  GPUS,
  GRAPH_OPTIONS,
  HELP,
  JSON_LINES,
  settingsOf,
} from "./options.ts";
import { writeOut } from "./renderer.ts";

/** The states of stages, in words. */
const STATES: Readonly<Record<Decision["state"], string>> = {
  run: "the cache has no sound result of it, or it is forced",
  restore:
    "the cache has its result, and the output folder has another or none",
  unchanged: "the output folder has its result",
  unknown: "it reads what is still to be made, and may turn out unchanged",
  skip: "it is not asked for; told with --json only",
};

/** `deno task plan`: says what a run would do. */
export const planCommand: Command = {
  name: "plan",
  usage: "PIPELINE [STAGE...]",
  description:
    `Say what "deno task pipeline" would do with the same stages, parameters and engine, and do nothing.

Each stage is in one of these states:
${
      Object.entries(STATES).map(([state, what]) =>
        `${state.padEnd(11)}${what}`
      ).join("\n")
    }`,
  options: [
    {
      name: "force",
      short: "f",
      description: "Plan as if with --force",
    },
    ...GRAPH_OPTIONS,
    ENGINE,
    GPUS,
    {
      name: "exit-code",
      description: "Exit with 10 if there is work to do",
    },
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["smoke", "See what a run would do"],
    ["glue-mini -S train.mrpc.epochs=8", "See what a parameter would change"],
    ["smoke --exit-code", "Ask in a script whether a run has work to do"],
  ],
  takes: { least: 1, most: Infinity },
  async run(given) {
    const { run, restore, unknown } = await printPlan(given);
    return given.has("exit-code") && run + restore + unknown > 0
      ? EXIT.workToDo
      : EXIT.fine;
  },
};

/** How many stages a plan leaves in each state. */
type Counts = Readonly<Record<Decision["state"], number>>;

/** Prints what a run with the same arguments would do, and does nothing. */
export async function printPlan(given: Given): Promise<Counts> {
  const start = performance.now();
  const settings = await settingsOf(given);
  const { graph, store, keep } = await openGraph(given, settings.out);
  const targets = await selectedStages(graph, given.positionals.slice(1));
  const forced = targets.length > 0 ? targets : [...graph.stages.keys()];
  const json = given.has("json");
  const print = (value: unknown) => writeOut(`${JSON.stringify(value)}\n`);
  const never = new AbortController().signal;
  const decisions = await plan(graph, targets, {
    ...settings,
    facilities: {
      engine: engineFacility(given, json ? print : () => {}, never),
    },
    force: new Set(given.has("force") ? forced : []),
  }, store);
  await keep();
  const counts: Record<Decision["state"], number> = {
    run: 0,
    restore: 0,
    unchanged: 0,
    unknown: 0,
    skip: 0,
  };
  for (const { state } of decisions.values()) counts[state]++;
  const seconds = (performance.now() - start) / 1000;
  if (json) {
    for (const [stage, decision] of decisions) {
      print({ type: "decided", stage, decision });
    }
    print({
      type: "summary",
      ran: 0,
      restored: 0,
      unchanged: counts.unchanged,
      failed: 0,
      seconds,
      planned: counts,
    });
  } else {
    writeOut(planText(decisions, counts, seconds, styleFor(Deno.stdout)));
  }
  return counts;
}

function planText(
  decisions: ReadonlyMap<string, Decision>,
  counts: Counts,
  seconds: number,
  style: Style,
): string {
  const colors: Record<Decision["state"], (text: string) => string> = {
    run: style.yellow,
    restore: style.cyan,
    unchanged: style.green,
    unknown: style.yellow,
    skip: style.dim,
  };
  const shown = [...decisions].filter(([, { state }]) => state !== "skip");
  const width = Math.max(0, ...shown.map(([stage]) => stage.length));
  const lines = shown.map(([stage, decision]) => {
    const reason = "reason" in decision ? decision.reason : "";
    const state = colors[decision.state](decision.state.padEnd(9));
    return `${state}  ${stage.padEnd(width)}  ${reason}`.trimEnd();
  });
  const { run, restore, unchanged, unknown } = counts;
  const parts = [
    `${run} to run`,
    ...(unknown > 0 ? [`${unknown} that may run`] : []),
    ...(restore > 0 ? [`${restore} to restore`] : []),
    `${unchanged} unchanged`,
  ];
  return [
    ...lines,
    `${count(shown.length, "stage")}: ${parts.join(", ")}, in ${
      duration(seconds)
    }`,
  ].map((line) => `${line}\n`).join("");
}

/** Statements of a change of code that are shown. */
const MOST_STATEMENTS = 12;

/** `deno task explain`: says why a stage is where it is. */
export const explainCommand: Command = {
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
  const engine = engineFacility(given, () => {}, new AbortController().signal);
  for (const id of stages) {
    const explanation = await explain(graph, id, {
      ...settings,
      facilities: { engine },
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

/** `deno task status`: says where each stage stands. */
export const statusCommand: Command = {
  name: "status",
  usage: "PIPELINE",
  description:
    "Say where each stage of a pipeline stands: what is running now, what failed the last time, what would run, and when and how long each ran last.",
  options: [...GRAPH_OPTIONS, ENGINE, GPUS, JSON_LINES, HELP],
  examples: [
    ["smoke", "See where each stage stands"],
    ["glue-mini --json", "Read it in a program, one stage a line"],
  ],
  takes: { least: 1, most: 1 },
  run: printStatus,
};

async function printStatus(given: Given): Promise<number> {
  const settings = await settingsOf(given);
  const { graph, keep } = await openGraph(given, settings.out);
  const engine = engineFacility(given, () => {}, new AbortController().signal);
  const stages = await status(graph, { ...settings, facilities: { engine } });
  await keep();
  if (given.has("json")) {
    for (const it of stages) writeOut(`${JSON.stringify(it)}\n`);
    return EXIT.fine;
  }
  const style = styleFor(Deno.stdout);
  const width = Math.max(0, ...stages.map(({ stage }) => stage.length));
  for (const it of stages) writeOut(`${statusLine(it, width, style)}\n`);
  return EXIT.fine;
}

function statusLine(
  { stage, decision, live, last, failure }: StageStatus,
  width: number,
  style: Style,
): string {
  const name = stage.padEnd(width);
  if (live !== undefined) {
    return `${style.cyan("running  ")}  ${name}  since ${
      clock(live.started)
    }, by ${live.holder}`;
  }
  const ran = last === undefined
    ? "never ran"
    : `ran ${clock(last.started)}, ${duration(last.seconds)}`;
  if (failure !== undefined) {
    return `${style.red("failed   ")}  ${name}  ${
      clip(failure.message, 100)
    }; log: ${failure.log}`;
  }
  const reason = "reason" in decision ? `; ${decision.reason}` : "";
  const color = decision.state === "unchanged" ? style.green : style.yellow;
  return `${color(decision.state.padEnd(9))}  ${name}  ${ran}${reason}`;
}

/** A time as this machine's clock shows it: `2026-01-31 14:05`. */
function clock(iso: string): string {
  const date = new Date(iso);
  const two = (number: number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${
    two(date.getDate())
  } ${two(date.getHours())}:${two(date.getMinutes())}`;
}

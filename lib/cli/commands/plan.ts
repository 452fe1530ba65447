import { SettingError } from "../../data/setting_error.ts";
import { printable } from "../../pipeline/faults.ts";
import type { Change, CodeHunk } from "../../scheduler/changes.ts";
import type { Decision } from "../../scheduler/events.ts";
import {
  explain,
  type Explanation,
  plan,
  type StageStatus,
  status,
} from "../../scheduler/plan.ts";
import type { KeyParts } from "../../store/manifests.ts";
import { type Arguments, command, EXIT } from "../arguments/arguments.ts";
import {
  FORCE,
  JSON_LINES,
  KEY_OPTIONS,
  withSetting,
} from "../arguments/options.ts";
import { openRun } from "../runtime/executor.ts";
import { REMOTE_OPTIONS, runRemote } from "../runtime/remote.ts";
import { clip, count, duration, localTime } from "../terminal/messages.ts";
import { writeLine, writeOut } from "../terminal/renderer.ts";
import { style } from "../terminal/style.ts";
import { fewSteps } from "./few_steps.ts";

type State = Decision["state"];

export const planCommand = command`
  plan PIPELINE [STAGE...]

  Show what "deno task pipeline" would do with the same arguments, and why, without running anything.

  The states of a stage:
  run        its result is not cached, or damaged, or --force selects it
  restore    its result is cached or in the remote, but not in the output folder
  unchanged  its result is in the output folder
  unknown    it depends on stages that will run, and may turn out unchanged
  skip       it is not selected (printed with --json only)

  Options:
  ${FORCE}
  ${KEY_OPTIONS}
  ${REMOTE_OPTIONS}
  --exit-code  Exit with code 10 if there is work to do
  ${JSON_LINES}

  Examples:
  smoke  Show what a run would do
  glue-mini -S train.mrpc.epochs=8  Show what a parameter changes
  smoke --exit-code  Test in a script whether there is work to do
`(async (args) => {
  const { run, restore, unknown } = await printPlan(args);
  return args.has("exit-code") && run + restore + unknown > 0
    ? EXIT.workToDo
    : EXIT.success;
});

/**
 * Prints the plan of a run with these arguments. Returns the number of stages
 * in each state.
 */
export async function printPlan(args: Arguments) {
  const start = performance.now();
  const json = args.has("json");
  const print = (value: unknown) => writeOut(`${JSON.stringify(value)}\n`);
  const opened = await openRun(args, json ? { say: print } : {});
  const { graph, selected, store, saveGraph, settings } = opened;
  const note = (text: string) =>
    json ? print({ type: "note", text }) : console.error(text);
  const remote = await runRemote(args, store, note);
  const decisions = await plan(graph, selected, { ...settings, remote }, store)
    .catch((error) => {
      if (!(error instanceof SettingError)) throw error;
      const { message, setting } = error;
      throw new Error(withSetting(message, setting, "plan", args), {
        cause: error,
      });
    });
  await remote?.end();
  await saveGraph();
  for (const text of await fewSteps(opened, "plan", args)) note(text);
  const counts = { run: 0, restore: 0, unchanged: 0, unknown: 0, skip: 0 };
  for (const { state } of decisions.values()) counts[state]++;
  const seconds = (performance.now() - start) / 1000;
  if (json) {
    for (const [stage, decision] of decisions) {
      print({ type: "decided", stage, decision });
    }
    const { unchanged } = counts;
    const done = { ran: 0, restored: 0, unchanged, failed: 0 };
    print({ type: "summary", ...done, seconds, planned: counts });
  } else {
    writeOut(planText(decisions, counts, seconds));
  }
  return counts;
}

function planText(
  decisions: ReadonlyMap<string, Decision>,
  { run, restore, unchanged, unknown }: Readonly<Record<State, number>>,
  seconds: number,
): string {
  const colors: Record<State, (text: string) => string> = {
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
  const parts = [
    `${run} to run`,
    ...(unknown > 0 ? [`${unknown} that may run`] : []),
    ...(restore > 0 ? [`${restore} to restore`] : []),
    `${unchanged} unchanged`,
  ];
  const stages = count(shown.length, "stage");
  lines.push(`${stages}: ${parts.join(", ")}, in ${duration(seconds)}`);
  return lines.map((line) => `${line}\n`).join("");
}

const MAX_STATEMENTS = 12;

export const explainCommand = command`
  explain PIPELINE [STAGE...]

  Explain why stages run or not: show the contents of each stage's key, and how it differs from the key of the most similar earlier result, down to the parameter, input or line of code that changed. Without a STAGE, explain all.

  Options:
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  smoke train-dylora  Explain why this stage runs
  glue-mini train-dylora@mrpc -S train.mrpc.epochs=8  Explain the effect of a parameter
`(async (args) => {
  const { graph, selected, settings } = await openRun(args);
  const stages = selected.length > 0 ? selected : graph.stages.keys();
  for (const id of stages) {
    const explanation = await explain(graph, id, settings);
    writeLine(args, explanation, explanationText(explanation));
  }
});

function explanationText(explanation: Explanation): string {
  const { stage, decision } = explanation;
  const state = "reason" in decision
    ? [decision.state, decision.reason]
    : [decision.state];
  const lines = [`${style.bold(stage)}: ${state.join(" - ")}`];
  if (!("parts" in explanation)) return [...lines, ""].join("\n");
  const { parts, nearest } = explanation;
  // What makes no difference to an unchanged stage is no explanation.
  if (nearest !== undefined && decision.state !== "unchanged") {
    const when = localTime(nearest.started);
    lines.push("", `  Compared with the result of ${when}:`);
    const { changes, code } = nearest;
    // Modules whose code differs only in what the bundler makes.
    const isAside = ({ kind, name, before, after }: Change) =>
      kind === "code" && before !== undefined && after !== undefined &&
      code.length > 0 && !code.some(({ module }) => module === name);
    for (const change of changes) {
      if (isAside(change)) continue;
      lines.push(`    ${changeText(change)}`);
      if (change.kind !== "code") continue;
      for (const hunk of code) {
        if (hunk.module === change.name) lines.push(...hunkLines(hunk));
      }
    }
  }
  lines.push("", "  Key:", ...keyLines(parts), "");
  return lines.join("\n");
}

function changeText({ kind, name, before, after }: Change): string {
  if (kind !== "code") {
    return `${kind} ${name}: ${before ?? "absent"} -> ${after ?? "absent"}`;
  }
  if (before === undefined) return `code ${name} added`;
  return `code ${name} ${after === undefined ? "removed" : "changed"}`;
}

function hunkLines({ module, from, to, removed, added }: CodeHunk): string[] {
  const indent = Math.min(
    ...[...removed, ...added].map((text) => text.search(/\S|$/)),
  );
  const before = removed.map((text) => text.slice(indent));
  const after = added.map((text) => text.slice(indent));
  const statements = [
    ...before.map((text) => style.red(`- ${changedPart(text, after)}`)),
    ...after.map((text) => style.green(`+ ${changedPart(text, before)}`)),
  ];
  const hidden = statements.length - MAX_STATEMENTS;
  return [
    `      ${module}:${from}${to > from ? `-${to}` : ""}`,
    ...statements.slice(0, MAX_STATEMENTS).map((it) => `        ${it}`),
    ...(hidden > 0 ? [`        and ${hidden} more`] : []),
  ];
}

/** A long statement from where it differs from the one that begins like it. */
function changedPart(text: string, others: readonly string[]): string {
  const other = others.find((it) => it.startsWith(text.slice(0, 30))) ?? "";
  let same = 0;
  while (same < text.length && text[same] === other[same]) same++;
  return same > 60 ? `…${clip(text.slice(same - 20), 99)}` : clip(text, 100);
}

/** The contents of a key, one per line, with abbreviated digests. */
function keyLines(parts: KeyParts): string[] {
  const short = (text: string) =>
    text.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1");
  return Object.entries(parts).flatMap(([part, value]) =>
    typeof value === "object" && value !== null
      ? Object.entries(value).map(([name, it]) =>
        `    ${part} ${name}: ${short(JSON.stringify(it))}`
      )
      : [`    ${part}: ${short(String(value))}`]
  );
}

export const statusCommand = command`
  status PIPELINE

  Show the state of each stage of a pipeline with these parameters: running, failed, interrupted, or what a run would do, with the time and the duration of its last run.

  Options:
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  smoke  Show the state of each stage
  glue-mini --json  Print it for a program, one stage per line
`(async (args) => {
  const { graph, saveGraph, settings } = await openRun(args);
  const stages = await status(graph, settings);
  await saveGraph();
  const lines = stages.map((it) => ({ it, ...statusOf(it) }));
  const states = Math.max(...lines.map(({ state }) => state.length));
  const names = Math.max(...stages.map(({ stage }) => stage.length));
  for (const { it, state, color, text } of lines) {
    const name = it.stage.padEnd(names);
    writeLine(args, it, `${color(state.padEnd(states))}  ${name}  ${text}`);
  }
});

/**
 * What `status` says of a stage: a word, its color, and the rest of the line.
 */
function statusOf({ decision, live, last, unfinished }: StageStatus) {
  const { cyan, green, red, yellow } = style;
  if (live !== undefined) {
    const since = `since ${localTime(live.started)}, by ${live.holder}`;
    return { state: "running", color: cyan, text: since };
  }
  switch (unfinished?.state) {
    case "interrupted": {
      const text = `log: ${unfinished.log}`;
      return { state: "interrupted", color: yellow, text };
    }
    case "failed": {
      const message = printable(unfinished.message).replaceAll(/\s+/g, " ");
      const text = `${clip(message, 100)}; log: ${unfinished.log}`;
      return { state: "failed", color: red, text };
    }
  }
  const ran = last === undefined
    ? "never ran"
    : `ran ${localTime(last.started)}, ${duration(last.seconds)}`;
  const { state } = decision;
  const color = state === "unchanged" ? green : yellow;
  const text = "reason" in decision ? `${ran}; ${decision.reason}` : ran;
  return { state, color, text };
}

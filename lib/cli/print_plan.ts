import { plan } from "../scheduler/plan.ts";
import type { Decision } from "../scheduler/events.ts";
import type { Given } from "./arguments.ts";
import { engineRuntime } from "./engine.ts";
import { openGraph, selectedStages } from "./open_graph.ts";
import { settingsOf } from "./options.ts";
import { writeOut } from "./render/choose.ts";
import { type Style, styleFor } from "./render/style.ts";
import { count, duration } from "./render/words.ts";

/** How many stages a plan leaves in each state. */
export type Counts = Readonly<Record<Decision["state"], number>>;

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
    runtimes: {
      engine: engineRuntime(given, json ? print : () => {}, never),
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

import { type StageStatus, status } from "../../scheduler/plan.ts";
import type { Command, Given } from "../arguments.ts";
import { engineRuntime } from "../engine.ts";
import { EXIT } from "../exit.ts";
import { openGraph } from "../open_graph.ts";
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
import { clip, duration } from "../render/words.ts";

/** `deno task status`: says where each stage stands. */
export const command: Command = {
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
  const engine = engineRuntime(given, () => {}, new AbortController().signal);
  const stages = await status(graph, { ...settings, runtimes: { engine } });
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

import { join } from "node:path";
import { printable } from "../../pipeline/fault.ts";
import { findLog, type LogLine, readLog } from "../../scheduler/runs.ts";
import { Store } from "../../store/store.ts";
import type { Command, Given } from "../arguments.ts";
import { EXIT, UsageError } from "../exit.ts";
import { watchInterrupts } from "../interrupts.ts";
import { openGraph, selectedStages } from "../open_graph.ts";
import { GRAPH_OPTIONS, HELP, JSON_LINES, outOf } from "../options.ts";
import { writeOut } from "../render/choose.ts";
import { progressText } from "../render/lines.ts";

/** `deno task logs`: prints the log of a stage. */
export const command: Command = {
  name: "logs",
  usage: "PIPELINE STAGE",
  description:
    "Print the log of a stage: of the run that is going on, else of the last that failed, else of the run whose result is in the cache.",
  options: [
    {
      name: "follow",
      short: "f",
      description: "Go on printing while the stage runs",
    },
    ...GRAPH_OPTIONS,
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["smoke train-dylora", "Print what the stage wrote"],
    ["glue-mini train-dylora@mrpc -f", "Follow a running stage"],
  ],
  takes: { least: 2, most: 2 },
  run: printLog,
};

async function printLog(given: Given): Promise<number> {
  const out = outOf(given);
  const { graph } = await openGraph(given, out);
  const [id, ...others] = await selectedStages(
    graph,
    given.positionals.slice(1),
  );
  if (id === undefined || others.length > 0) {
    throw new UsageError(
      `"${given.positionals[1]}" selects more than one stage: "${id}", "${
        others[0]
      }"`,
    );
  }
  const found = findLog(graph.pipeline, id, new Store(join(out, "cache")));
  if (found === undefined) throw new Error(`Stage "${id}" has not run yet`);
  using interrupts = watchInterrupts(() => {});
  for await (
    const line of readLog(found, given.has("follow"), interrupts.signal)
  ) {
    if (given.has("json")) writeOut(`${JSON.stringify(line)}\n`);
    else {
      const text = textOf(line);
      if (text !== undefined) {
        writeOut(`${line.at.toFixed(1).padStart(8)}  ${text}\n`);
      }
    }
  }
  return interrupts.code ?? EXIT.fine;
}

/** A line of a log as text; undefined for what is not worth a line. */
function textOf(line: LogLine): string | undefined {
  switch (line.type) {
    case "log":
      return printable(line.line);
    case "progress":
      return progressText(line);
    case "metric":
      return printable(
        `${line.name} = ${line.value}${
          line.step === undefined ? "" : ` at step ${line.step}`
        }`,
      );
    case "started":
      return `attempt ${line.attempt}: ${line.reason}`;
    case "failed":
      return `failed: ${printable(line.message)}`;
    default:
      return undefined;
  }
}

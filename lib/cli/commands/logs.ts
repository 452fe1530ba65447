import { status } from "../../scheduler/plan.ts";
import { readLog } from "../../scheduler/journal.ts";
import { openStageLog } from "../../scheduler/results.ts";
import { command, UsageError } from "../arguments/arguments.ts";
import { JSON_LINES, KEY_OPTIONS } from "../arguments/options.ts";
import { openRun } from "../runtime/executor.ts";
import { watchInterrupts } from "../terminal/interrupts.ts";
import { eventText, listed } from "../terminal/messages.ts";
import { writeOut } from "../terminal/renderer.ts";

export const logsCommand = command`
  logs PIPELINE [STAGE]

  Print the log of a stage with these parameters: of the current run if it is running, otherwise of the last run if that failed, otherwise of the run that made the cached result. Without a STAGE, take the one that is running or has failed.

  Options:
  -f, --follow  Keep printing while the stage runs, also in further attempts
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  smoke train-dylora  Print what the stage logged
  glue-mini train-dylora@mrpc,seed=0 -f  Follow a running stage
`(async (args) => {
  const { graph, selected, store, settings } = await openRun(args);
  const [, pattern] = args.positionals;
  const stages = pattern === undefined
    ? (await status(graph, settings))
      .filter(({ live, unfinished }) => live ?? unfinished)
      .map(({ stage }) => stage)
    : selected;
  const [id, other] = stages;
  if (id === undefined) {
    const names = listed([...graph.stages.keys()], 10);
    throw new UsageError(
      `No stage is running or has failed: name one, of ${names}`,
    );
  }
  if (other !== undefined) {
    const what = pattern === undefined
      ? "More than one stage is running or has failed"
      : `"${pattern}" selects more than one stage`;
    throw new UsageError(`${what}: "${id}", "${other}"; name one of them`);
  }
  const log = await openStageLog(graph, id, settings, store);
  const follow = args.has("follow");
  using interrupts = watchInterrupts(() => {});
  for await (const line of readLog(log, follow, interrupts.signal)) {
    const text = eventText(line);
    const at = line.at.toFixed(1).padStart(8);
    if (args.has("json")) writeOut(`${JSON.stringify(line)}\n`);
    else if (text !== undefined) writeOut(`${at}  ${text}\n`);
  }
  return interrupts.code;
});

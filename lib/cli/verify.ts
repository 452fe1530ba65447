import { type Verification, verify } from "../scheduler/attempts/verify.ts";
import { type Arguments, type Command, EXIT } from "./arguments.ts";
import { installedEngine } from "./engine.ts";
import { watchInterrupts } from "./interrupts.ts";
import { count, duration, type Message } from "./messages.ts";
import { openPipeline } from "./open_pipeline.ts";
import {
  ENGINE,
  GPUS,
  GRAPH_OPTIONS,
  HELP,
  JSON_LINES,
  settingsOf,
} from "./options.ts";
import { chooseRenderer, writeOut } from "./renderer.ts";

/** `deno task verify`: runs cached stages again and compares the output. */
export const verifyCommand: Command = {
  name: "verify",
  usage: "PIPELINE STAGE...",
  description:
    "Run stages again, apart from the cache and the output folder, and compare their output with the cached results byte by byte. Exits with code 1 if any file differs.",
  options: [...GRAPH_OPTIONS, ENGINE, GPUS, JSON_LINES, HELP],
  examples: [
    ["smoke train-dylora", "Check that training is deterministic"],
    ['smoke "*"', "Check every stage"],
  ],
  positionals: { min: 2, max: Infinity },
  run: verifyStages,
};

async function verifyStages(args: Arguments): Promise<number> {
  const settings = await settingsOf(args);
  const { graph, selected } = await openPipeline(args, settings.out);
  const json = args.has("json");
  const renderer = await chooseRenderer(json);
  const say = (message: Message) => renderer.show(message);
  using interrupts = watchInterrupts(() => {});
  const runtimes = { engine: installedEngine(args, say, interrupts.signal) };
  let differing = 0;
  try {
    for (const id of selected) {
      const result = await verify(
        graph,
        id,
        { ...settings, runtimes },
        say,
        interrupts.signal,
      );
      if (result.differing.length > 0) differing++;
      if (json) {
        writeOut(`${JSON.stringify({ type: "verified", ...result })}\n`);
      } else say({ type: "note", text: verificationText(result) });
    }
  } catch (error) {
    if (interrupts.code === undefined) throw error;
  } finally {
    renderer.end();
  }
  return interrupts.code ?? (differing > 0 ? EXIT.failed : EXIT.success);
}

function verificationText(
  { stage, differing, files, seconds }: Verification,
): string {
  const time = `in ${duration(seconds)}`;
  return differing.length === 0
    ? `${stage}: ${count(files, "file")} identical, ${time}`
    : `${stage}: ${differing.length} of ${
      count(files, "file")
    } different, ${time}: ${differing.join(", ")}`;
}

import { type Verification, verify } from "../../scheduler/verify.ts";
import type { Command, Given } from "../arguments.ts";
import { readyEngineRuntime } from "../engine.ts";
import { EXIT } from "../exit.ts";
import { watchInterrupts } from "../interrupts.ts";
import type { Message } from "../messages.ts";
import { openGraph, selectedStages } from "../open_graph.ts";
import {
  ENGINE,
  GPUS,
  GRAPH_OPTIONS,
  HELP,
  JSON_LINES,
  settingsOf,
} from "../options.ts";
import { chooseRenderer, writeOut } from "../render/choose.ts";
import { count, duration } from "../render/words.ts";

/** `deno task verify`: runs cached stages again and compares. */
export const command: Command = {
  name: "verify",
  usage: "PIPELINE STAGE...",
  description:
    "Run stages again beside the cache and compare what they make with what the cache has, byte by byte. Neither the cache nor the output folder is touched. Exits with 1 if anything differs.",
  options: [...GRAPH_OPTIONS, ENGINE, GPUS, JSON_LINES, HELP],
  examples: [
    ["smoke train-dylora", "Check that training is deterministic"],
    ['smoke "*"', "Check every stage"],
  ],
  takes: { least: 2, most: Infinity },
  run: verifyStages,
};

async function verifyStages(given: Given): Promise<number> {
  const settings = await settingsOf(given);
  const { graph } = await openGraph(given, settings.out);
  const stages = await selectedStages(graph, given.positionals.slice(1));
  const json = given.has("json");
  const renderer = await chooseRenderer(json);
  const say = (message: Message) => renderer.show(message);
  using interrupts = watchInterrupts(() => {});
  const runtimes = {
    engine: readyEngineRuntime(given, say, interrupts.signal),
  };
  let differing = 0;
  try {
    for (const id of stages) {
      const result = await verify(
        graph,
        id,
        { ...settings, runtimes },
        (event) => renderer.show(event),
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
  return interrupts.code ?? (differing > 0 ? EXIT.failed : EXIT.fine);
}

function verificationText(
  { stage, differing, files, seconds }: Verification,
): string {
  const time = `in ${duration(seconds)}`;
  return differing.length === 0
    ? `${stage}: ${count(files, "file")} came out the same, ${time}`
    : `${stage}: ${differing.length} of ${
      count(files, "file")
    } came out otherwise, ${time}: ${differing.join(", ")}`;
}

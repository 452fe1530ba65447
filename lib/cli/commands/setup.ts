import type { EngineReport } from "../../engine/install/check.ts";
import type { Command, Given } from "../arguments.ts";
import { askedEngine, installOptions, sayWhich } from "../engine.ts";
import { EXIT } from "../exit.ts";
import { watchInterrupts } from "../interrupts.ts";
import type { Message } from "../messages.ts";
import { ENGINE, HELP, JSON_LINES } from "../options.ts";
import { chooseRenderer } from "../render/choose.ts";
import { bytes } from "../render/words.ts";

/** `deno task setup`: makes the engine ready, or checks it. */
export const command: Command = {
  name: "setup",
  usage: "",
  description:
    `Install what the engine needs, once for all pipelines, and say what it can do here.

Runs do this themselves when the first stage needs it. The library goes to $DYLORA_CACHE, else to the user's cache folder.`,
  options: [
    {
      name: "check",
      description: "Install nothing: check the files and load the library",
    },
    ENGINE,
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["", "Install the engine that fits this machine"],
    ["--check", "See whether it works, and with which devices"],
  ],
  takes: { least: 0, most: 0 },
  run: setUp,
};

async function setUp(given: Given): Promise<number> {
  const { selectEngine } = await import("../../engine/install/choose.ts");
  const { checkEngine } = await import("../../engine/install/check.ts");
  const renderer = await chooseRenderer(given.has("json"));
  const say = (message: Message) => renderer.show(message);
  using interrupts = watchInterrupts(() =>
    say({
      type: "note",
      text: "Stopping: nothing is kept of an unfinished installation",
    })
  );
  try {
    let choice = await selectEngine(askedEngine(given));
    if (!given.has("check")) {
      choice = await choice.prepare(installOptions(say, interrupts.signal));
    }
    sayWhich(choice, say);
    for (const text of reportLines(await checkEngine(choice))) {
      say({ type: "note", text });
    }
  } catch (error) {
    if (interrupts.code === undefined) throw error;
  } finally {
    renderer.end();
  }
  return interrupts.code ?? EXIT.fine;
}

function reportLines({ library, devices, bfloat16 }: EngineReport): string[] {
  return [
    ...(library === undefined ? [] : [
      `library: libtensorflow ${library.version}, ${
        bytes(library.bytes)
      } in ${library.folder}`,
    ]),
    `devices: ${devices.join(", ")}`,
    `bfloat16: ${bfloat16 ? "yes" : "no"}`,
  ];
}

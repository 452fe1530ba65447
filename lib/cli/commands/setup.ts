import type { EngineReport } from "../../engine/install/check.ts";
import { type Arguments, type Command, EXIT } from "../arguments/arguments.ts";
import { ENGINE, HELP, JSON_LINES } from "../arguments/options.ts";
import {
  engineMessage,
  engineOption,
  installOptions,
} from "../runtime/engine.ts";
import { watchInterrupts } from "../terminal/interrupts.ts";
import { bytes, type Message } from "../terminal/messages.ts";
import { chooseRenderer } from "../terminal/renderer.ts";

/** `deno task setup`: installs the engine, or checks it. */
export const setupCommand: Command = {
  name: "setup",
  usage: "",
  description:
    `Install the engine for all pipelines, and report what it supports on this machine.

Setup is optional: a run installs the engine when the first stage needs it. The library is installed into $DYLORA_CACHE, by default in the user's cache folder. A damaged library is replaced.`,
  options: [
    {
      name: "check",
      description: "Only verify the hashes of the files and load the library",
    },
    ENGINE,
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["", "Install the engine that suits this machine"],
    ["--check", "Check whether it works, and on which devices"],
  ],
  positionals: { min: 0, max: 0 },
  run: setUp,
};

async function setUp(args: Arguments): Promise<number> {
  const { selectEngine } = await import("../../engine/install/choose.ts");
  const { checkEngine } = await import("../../engine/install/check.ts");
  const renderer = await chooseRenderer(args.has("json"));
  const say = (message: Message) => renderer.show(message);
  using interrupts = watchInterrupts(() =>
    say({
      type: "note",
      text: "Stopping: removing the unfinished installation",
    })
  );
  try {
    let choice = await selectEngine(engineOption(args));
    if (!args.has("check")) {
      choice = await choice.prepare({
        ...installOptions(say, interrupts.signal),
        thorough: true,
      });
    }
    say(engineMessage(choice));
    for (const text of reportLines(await checkEngine(choice))) {
      say({ type: "note", text });
    }
  } catch (error) {
    if (interrupts.code === undefined) throw error;
  } finally {
    renderer.end();
  }
  return interrupts.code ?? EXIT.success;
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

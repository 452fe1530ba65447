import { command } from "../arguments/arguments.ts";
import { ENGINE, JSON_LINES } from "../arguments/options.ts";
import {
  engineMessage,
  engineOption,
  installOptions,
} from "../runtime/engine.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { bytes } from "../terminal/messages.ts";
import { chooseRenderer } from "../terminal/renderer.ts";

export const setupCommand = command`
  setup

  Install the engine for all pipelines, and report what it supports on this machine.

  Setup is optional: a run installs the engine when the first stage needs it. The library is installed into $DYLORA_CACHE, by default in the user's cache folder. A damaged library is replaced.

  Options:
  --check  Only verify the hashes of the files and load the library
  ${ENGINE}
  ${JSON_LINES}

  Examples:
  Install the engine that suits this machine
  --check  Check whether it works, and on which devices
`(async (args) => {
  const { KERNELS, selectEngine, TFJS_VERSION } = await import(
    "../../engine/install/choose.ts"
  );
  const { checkEngine } = await import("../../engine/install/check.ts");
  using renderer = await chooseRenderer(args);
  const { say, note } = renderer;
  return await interruptible(async (signal) => {
    const choice = await selectEngine(engineOption(args));
    if (!args.has("check")) {
      const options = installOptions(say, signal);
      await choice.prepare({ ...options, thorough: true });
    }
    say(engineMessage(choice));
    const { library, devices, bfloat16 } = await checkEngine(choice);
    note(`kernels: ${KERNELS[choice.engine]} ${TFJS_VERSION}`);
    if (library !== undefined) {
      const { version, bytes: size, folder } = library;
      note(`library: libtensorflow ${version}, ${bytes(size)} in ${folder}`);
    }
    note(`devices: ${devices.join(", ")}`);
    note(`bfloat16: ${bfloat16 ? "yes" : "no"}`);
  }, () => note("Stopping: removing the unfinished installation"));
});

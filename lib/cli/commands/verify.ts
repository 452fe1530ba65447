import { differenceOf } from "../../artifacts/file_difference.ts";
import { verify } from "../../scheduler/verify.ts";
import { command, EXIT } from "../arguments/arguments.ts";
import { JSON_LINES, KEY_OPTIONS } from "../arguments/options.ts";
import { openRun } from "../runtime/executor.ts";
import { runRemote } from "../runtime/remote.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { chooseRenderer } from "../terminal/renderer.ts";

export const verifyCommand = command`
  verify PIPELINE STAGE...

  Run stages again, without changing the cache or the output folder, and compare their output with the cached results byte by byte. Says how many bytes of a file differ, where the first is, and in which tensors. Exits with code 1 if any file differs.

  Options:
  ${KEY_OPTIONS}
  --from [URL]  Compare with the results of a remote, whose inputs are used as well (default: as of --remote)
  ${JSON_LINES}

  Examples:
  smoke train-dylora  Check that training is deterministic
  smoke "*"  Check every stage
  smoke train-dylora --from file:///mnt/results  Check a result of others
`(async (args) => {
  using renderer = await chooseRenderer(args);
  const { say, note } = renderer;
  return await interruptible(async (signal) => {
    const opened = await openRun(args, { say, signal });
    const { graph, selected, store, settings } = opened;
    const remote = args.has("from")
      ? await runRemote(args, store, note, signal, "read", "from")
      : undefined;
    let code: number = EXIT.success;
    say({ type: "start", pipeline: graph.pipeline, stages: selected });
    for (const stage of selected) {
      const reason = "compare with the cached result";
      say({ type: "started", stage, attempt: 1, reason });
      const result = await verify(
        graph,
        stage,
        { ...settings, remote },
        say,
        signal,
        differenceOf,
      );
      if (Object.keys(result.differing).length > 0) code = EXIT.failed;
      say({ type: "verified", ...result });
    }
    return code;
  });
});

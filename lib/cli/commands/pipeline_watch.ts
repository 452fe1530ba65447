import { delay } from "@std/async/delay";
import { taskCode } from "../../scheduler/context.ts";
import { signal as sendSignal } from "../../scheduler/executors/local.ts";
import { sourcesOf } from "../../scheduler/key.ts";
import { listFiles } from "../../store/blobs.ts";
import { statIfThere } from "../../files/files.ts";
import { fromFileUrl, resolve } from "../../files/paths.ts";
import { fingerprint } from "../../files/fingerprints.ts";
import { type Arguments, EXIT, UsageError } from "../arguments/arguments.ts";
import { findPipeline, openPipeline } from "../arguments/open_pipeline.ts";
import { PROGRAM, PROJECT } from "../arguments/options.ts";
import { watchInterrupts } from "../terminal/interrupts.ts";
import { count } from "../terminal/messages.ts";

const POLL = 250;

/**
 * `pipeline --watch`: runs the pipeline, and again whenever something that it
 * depends on changes. Each run is a process of its own, so it loads the changed
 * code of tasks, and prints as it does without `--watch`.
 *
 * Files are polled, which works on every file system and with editors that
 * replace files.
 *
 * @returns The exit code for the signal that ended it.
 */
export async function watchPipeline(args: Arguments): Promise<number> {
  let child: Deno.ChildProcess | undefined;
  using interrupts = watchInterrupts((signal) => {
    // A terminal sends Ctrl-C to the run as well.
    if (signal === "SIGINT" && Deno.stdin.isTerminal()) return;
    // Unlike `child.kill()`, this takes a run that has just ended.
    if (child !== undefined) sendSignal(child.pid, signal);
  });
  const { signal } = interrupts;
  let paths = await dependencies(args, []);
  for (let run = 0; !signal.aborted; run++) {
    const before = new Map(paths.map((path) => [path, stateOf([path])]));
    // Only the first run is forced.
    const runArgs = args.without("watch", ...run > 0 ? ["force"] : []);
    child = new Deno.Command(Deno.execPath(), {
      args: [...PROGRAM, "pipeline", ...runArgs.words()],
      stdin: "inherit",
    }).spawn();
    const { code } = await child.status;
    child = undefined;
    if (signal.aborted) break;
    if (code === EXIT.interrupted) return code;
    paths = await dependencies(args, paths);
    // Paths that this run has added count as seen in their present state.
    const seen = new Map(
      paths.flatMap((path) => [...before.get(path) ?? stateOf([path])]),
    );
    console.error(
      `Watching ${count(seen.size, "file")}; press Ctrl-C to stop`,
    );
    let changed: string | undefined;
    // Until a file differs, and then until nothing changes between two polls.
    for (let last = seen; !signal.aborted;) {
      const now = stateOf(paths);
      changed = difference(seen, now) ?? changed;
      if (changed && difference(last, now) === undefined) {
        console.error(`${changed} changed`);
        break;
      }
      last = now;
      // Rejects only when the signal aborts.
      await delay(POLL, { signal }).catch(() => {});
    }
  }
  return interrupts.code!;
}

/**
 * Paths that the pipeline depends on: its file, the modules of its tasks, and
 * the files and folders that parameters name.
 *
 * @param before The result of the last call, kept if the pipeline is invalid
 * now.
 * @throws {UsageError} In the first call, if the arguments are invalid.
 */
async function dependencies(
  args: Arguments,
  before: readonly string[],
): Promise<readonly string[]> {
  const file = resolve(Deno.cwd(), await findPipeline(args.positionals[0]!));
  const paths = new Set([file]);
  try {
    const { graph, store } = await openPipeline(args);
    const stages = [...graph.stages.values()];
    for (const { module } of stages) paths.add(fromFileUrl(module));
    const modules = new Set(stages.map(({ module }) => module));
    const code = await taskCode([...modules], PROJECT, store);
    for (const { files } of code.values()) {
      for (const [path] of files) paths.add(path);
    }
    const context = { store, code, settings: { project: PROJECT } };
    for (const stage of stages) {
      const named = await sourcesOf(context, stage);
      for (const path of named.values()) paths.add(path);
    }
    return [...paths];
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (error instanceof UsageError && before.length === 0) throw error;
    // The user may be editing; the run itself reports the error.
    return [...new Set([...paths, ...before])];
  }
}

/**
 * Fingerprint of each file at or below some paths; empty for one that is
 * missing.
 */
function stateOf(paths: readonly string[]): Map<string, string> {
  const files = paths.flatMap((path) =>
    statIfThere(path)?.isDirectory
      ? listFiles(path, "follow").map((below) => `${path}/${below}`)
      : [path]
  );
  return new Map(files.map((path) => {
    const print = fingerprint(path);
    const state = print && `${print.size} ${print.modified} ${print.inode}`;
    return [path, state ?? ""];
  }));
}

function difference(
  a: ReadonlyMap<string, string>,
  b: ReadonlyMap<string, string>,
): string | undefined {
  return [...b.keys(), ...a.keys()].find((path) => a.get(path) !== b.get(path));
}

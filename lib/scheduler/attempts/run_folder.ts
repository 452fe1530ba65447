import { join } from "node:path";
import { fingerprint } from "../../store/fingerprint.ts";
import { type Lock, tryLockFile } from "../../store/locks.ts";
import { temporarySuffix } from "../../store/process_name.ts";
import type { Store } from "../../store/store.ts";
import type { Executor } from "../executors/executor.ts";
import { announce } from "./live.ts";
import { removeFolder } from "./visible.ts";

/** The private folder of one attempt at a stage: `runs/...`, removed when it ends. */
export interface RunFolder extends Disposable {
  readonly path: string;
  readonly output: string;
  readonly inputs: string;
  readonly temporary: string;
  readonly spec: string;
  readonly log: string;
}

/** Makes a run folder. Its lock is held as long as this process lives. */
export function makeRunFolder(
  store: Store,
  pipeline: string,
  stage: string,
): RunFolder {
  const runs = store.makeFolder("runs");
  const name = `${temporarySuffix()}-${stage.replaceAll(/[^\w.-]+/g, "-")}`;
  const path = join(runs, name);
  // It gets its name when it is locked, so that nobody takes it for a dead one.
  const unready = join(runs, `.${name}`);
  Deno.mkdirSync(unready);
  const lock = tryLockFile(join(unready, "lock"))!;
  const dispose = () => {
    removeFolder(unready);
    removeFolder(path);
    lock[Symbol.dispose]();
  };
  try {
    for (const part of ["output", "inputs", "tmp"]) {
      Deno.mkdirSync(join(unready, part));
    }
    announce(unready, pipeline, stage);
    Deno.renameSync(unready, path);
  } catch (error) {
    dispose();
    throw error;
  }
  return {
    path,
    output: join(path, "output"),
    inputs: join(path, "inputs"),
    temporary: join(path, "tmp"),
    spec: join(path, "spec.json"),
    log: join(path, "log.jsonl"),
    [Symbol.dispose]: dispose,
  };
}

/** Removes the folders of runs whose scheduler died, and ends what is left of them. */
export async function sweepRuns(
  store: Store,
  executor: Executor,
): Promise<void> {
  const runs = store.makeFolder("runs");
  for (const { name } of [...Deno.readDirSync(runs)]) {
    const path = join(runs, name);
    const lock = lockOf(path);
    if (lock === "missing") {
      // It is being removed; or, without its name yet, it may be in the making.
      if (!name.startsWith(".") || isOld(path)) removeFolder(path);
    } else if (lock !== "held") {
      await executor.reap(path);
      removeFolder(path);
      lock[Symbol.dispose]();
    }
  }
}

/** The lock of a run folder, taken if nobody holds it. */
function lockOf(path: string): Lock | "held" | "missing" {
  try {
    return tryLockFile(join(path, "lock"), { create: false }) ?? "held";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "missing";
    throw error;
  }
}

/** True for a folder that was never made ready, and cannot be in the making. */
function isOld(path: string): boolean {
  const made = fingerprint(path)?.modified;
  return made !== undefined && made < Date.now() - 60 * 60 * 1000;
}

import { dirname, join } from "node:path";
import { entriesOf } from "../../store/inventory.ts";
import { lockHolder, tryLockFile } from "../../store/locks.ts";
import { readSealed, seal } from "../../store/sealed.ts";
import type { Store } from "../../store/store.ts";

/** A stage that is running now, in this or another process. */
export interface LiveRun {
  readonly pipeline: string;
  readonly stage: string;
  /** When it began: ISO 8601. */
  readonly started: string;
  /** Who runs it: `process 1234`. */
  readonly holder: string;
  /** File that its log is written to. */
  readonly log: string;
}

/** Says in a run folder what runs there. */
export function announce(
  folder: string,
  pipeline: string,
  stage: string,
): void {
  const started = new Date().toISOString();
  // Nobody sees the folder before it is complete, nor after the machine has gone down.
  Deno.writeTextFileSync(
    join(folder, "run.json"),
    seal({ pipeline, stage, started }),
  );
}

/** All stages that are running now. */
export function liveRuns(store: Store): LiveRun[] {
  return entriesOf(store.path("runs")).flatMap(({ name }) => {
    const folder = store.path("runs", name);
    const run = readSealed(join(folder, "run.json"));
    const log = join(folder, "log.jsonl");
    if (run.state !== "whole" || !isWritten(log)) return [];
    return [{
      pipeline: String(run.value.pipeline),
      stage: String(run.value.stage),
      started: String(run.value.started),
      holder: lockHolder(join(folder, "lock")),
      log,
    }];
  });
}

/** True while the run goes on that writes this log: its scheduler holds a lock beside it, however it dies. */
export function isWritten(log: string): boolean {
  const path = join(dirname(log), "lock");
  try {
    using lock = tryLockFile(path, { shared: true, create: false });
    return lock === undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import { digest } from "../store/digest.ts";
import {
  isHeldHere,
  type Lock,
  lockFile,
  lockHolder,
  tryLockFile,
} from "../store/locks.ts";
import type { Context } from "./context.ts";
import type { Event } from "./events.ts";
import { BusyError } from "./failure.ts";

/** How a stage waits for another process. */
interface Waiting {
  readonly emit: (event: Event) => void;
  /** Ends the waiting. */
  readonly waiting: AbortSignal;
}

/**
 * Takes the lock of a key, which is held around looking it up, running and
 * committing.
 *
 * @throws {BusyError} If another process holds it, and waiting is not wanted.
 */
export async function lockKey(
  context: Context,
  stage: GraphStage,
  key: string,
  { emit, waiting }: Waiting,
): Promise<Lock> {
  const path = join(context.store.makeFolder("locks"), key);
  if (!context.settings.wait) {
    const lock = tryLockFile(path);
    if (lock !== undefined) return lock;
    // Another stage of this run with the same key ends soon enough.
    if (!isHeldHere(path)) {
      throw new BusyError(`"${stage.id}" is being run by ${lockHolder(path)}`);
    }
  }
  return await lockFile(path, {
    signal: waiting,
    onWait: (holder) =>
      emit({
        type: "log",
        stage: stage.id,
        line: `Waiting for ${holder}, which runs the same stage`,
        stream: "log",
      }),
  });
}

/** Takes the stage's mutex, if it has one. It holds in all processes that share the cache. */
export async function lockMutex(
  context: Context,
  stage: GraphStage,
  signal: AbortSignal,
): Promise<Lock | undefined> {
  if (stage.mutex === undefined) return undefined;
  const name = `mutex-${digest(stage.mutex).slice(0, 16)}`;
  return await lockFile(join(context.store.makeFolder("locks"), name), {
    signal,
  });
}

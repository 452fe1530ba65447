import { join } from "node:path";
import type { GraphStage } from "../../pipeline/graph.ts";
import { digest } from "../../store/digest.ts";
import {
  isHeldHere,
  type Lock,
  lockFile,
  lockHolder,
  tryLockFile,
} from "../../store/locks.ts";
import type { Context } from "../context.ts";
import type { Event } from "../events.ts";
import { BusyError } from "../failure.ts";

/** How a stage waits for another process. */
export interface Waiting {
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
  waiting: Waiting,
): Promise<Lock> {
  return await lock(context, stage, key, waiting, {
    refuse: (holder) => `"${stage.id}" is being run by ${holder}`,
    wait: (holder) => `Waiting for ${holder}, which runs the same stage`,
  });
}

/**
 * Takes the stage's mutex, if it has one. It holds in all processes that share
 * the cache.
 *
 * @throws {BusyError} If another process holds it, and waiting is not wanted.
 */
export async function lockMutex(
  context: Context,
  stage: GraphStage,
  waiting: Waiting,
): Promise<Lock | undefined> {
  const { id, mutex } = stage;
  if (mutex === undefined) return undefined;
  const name = `mutex-${digest(mutex).slice(0, 16)}`;
  return await lock(context, stage, name, waiting, {
    refuse: (holder) =>
      `"${id}" needs the mutex "${mutex}", which ${holder} holds`,
    wait: (holder) => `Waiting for ${holder}, which holds the mutex "${mutex}"`,
  });
}

/** Says that a stage waits, and for whom. */
export function sayWaiting(
  stage: GraphStage,
  line: string,
  { emit }: Waiting,
): void {
  emit({ type: "log", stage: stage.id, line, stream: "log" });
}

/** What is said of a lock that another holds. */
interface Words {
  readonly refuse: (holder: string) => string;
  readonly wait: (holder: string) => string;
}

async function lock(
  { settings, store }: Context,
  stage: GraphStage,
  name: string,
  waiting: Waiting,
  words: Words,
): Promise<Lock> {
  const path = join(store.makeFolder("locks"), name);
  if (!settings.wait) {
    const lock = tryLockFile(path);
    if (lock !== undefined) return lock;
    // Another stage of this run lets go of it soon enough.
    if (!isHeldHere(path)) throw new BusyError(words.refuse(lockHolder(path)));
  }
  return await lockFile(path, {
    signal: waiting.waiting,
    onWait: (holder) => sayWaiting(stage, words.wait(holder), waiting),
  });
}

import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import { fingerprint } from "../store/fingerprint.ts";
import {
  isHeldHere,
  type Lock,
  lockHolder,
  tryLockFile,
} from "../store/locks.ts";
import { claimOf } from "./claim.ts";
import type { Context } from "./context.ts";
import { BusyError } from "./failure.ts";
import { checkGpus } from "./limits.ts";
import { sayWaiting, type Waiting } from "./stage_locks.ts";

/** Milliseconds between two looks for a free GPU. */
const PAUSE = 100;

/** GPUs that no other stage on this machine uses until they are given back. */
export interface HeldGpus extends Disposable {
  readonly ids: readonly string[];
}

/**
 * Takes the GPUs that a stage needs, waiting until so many are free. Each is a
 * lock that all pipelines of this machine share.
 *
 * @throws {StageFailure} If it needs more than may be taken.
 * @throws {BusyError} If another process holds what it needs, and waiting is not wanted.
 */
export async function takeGpus(
  context: Context,
  stage: GraphStage,
  waiting: Waiting,
): Promise<HeldGpus> {
  const { wait, limits } = context.settings;
  const { gpu: count } = claimOf(context, stage);
  checkGpus(count, limits.gpus);
  const folder = lockFolder();
  for (let told = false;;) {
    waiting.waiting.throwIfAborted();
    const held: { id: string; lock: Lock }[] = [];
    const taken: string[] = [];
    for (const id of limits.gpus) {
      if (held.length === count) break;
      const path = lockPath(folder, id);
      const lock = tryLockFile(path, { create: false });
      if (lock !== undefined) held.push({ id, lock });
      // Another stage of this run gives it back soon enough.
      else if (!isHeldHere(path)) taken.push(`${lockHolder(path)} (GPU ${id})`);
    }
    const release = () => held.forEach(({ lock }) => lock[Symbol.dispose]());
    if (held.length === count) {
      return { ids: held.map(({ id }) => id), [Symbol.dispose]: release };
    }
    // All or none, so that two stages cannot each hold half of what both need.
    release();
    const own = limits.gpus.length - taken.length;
    if (own < count) {
      const holders = taken.join(", ");
      if (!wait) {
        throw new BusyError(`"${stage.id}" needs a GPU of ${holders}`);
      }
      if (!told) sayWaiting(stage, `Waiting for a GPU of ${holders}`, waiting);
      told = true;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

/** The folder of locks, which all users of the machine share. */
function lockFolder(): string {
  const folder = "/tmp/dylora-gpus";
  if (fingerprint(folder) === undefined) {
    unlessThere(() => {
      Deno.mkdirSync(folder);
      Deno.chmodSync(folder, 0o1777);
    });
  }
  return folder;
}

/** The lock file of a GPU, which every user may open once it is made. */
function lockPath(folder: string, id: string): string {
  const path = join(folder, `gpu-${encodeURIComponent(id)}`);
  if (fingerprint(path) === undefined) {
    unlessThere(() => {
      Deno.openSync(path, { write: true, createNew: true }).close();
      Deno.chmodSync(path, 0o666);
    });
  }
  return path;
}

/** Makes something, unless another process was faster. */
function unlessThere(make: () => void): void {
  try {
    make();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}

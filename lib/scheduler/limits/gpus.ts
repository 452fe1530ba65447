import { join } from "node:path";
import type { GraphStage } from "../../pipeline/graph.ts";
import { fingerprint } from "../../store/fingerprint.ts";
import {
  isHeldHere,
  type Lock,
  lockHolder,
  tryLockFile,
} from "../../store/locks.ts";
import { claimOf } from "./claim.ts";
import type { Context } from "../context.ts";
import { BusyError } from "../failure.ts";
import { checkGpus } from "./limits.ts";
import { sayWaiting, type Waiting } from "./stage_locks.ts";

/** Milliseconds between two looks for a free GPU. */
const PAUSE = 100;

/** GPUs that no other stage on this machine uses until they are given back. */
export interface HeldGpus extends Disposable {
  readonly ids: readonly string[];
}

/** GPUs that are wanted, and what to do while others hold them. */
export interface WantedGpus {
  readonly count: number;
  /** Ids of those to choose from, each once. */
  readonly among: readonly string[];
  /** Called once if others hold them: `process 1234 (GPU 0)`. What it throws ends the waiting. */
  readonly onWait: (holders: string) => void;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

/**
 * Takes the GPUs that a stage needs, waiting until so many are free.
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
  return await holdGpus({
    count: claimOf(context, stage).gpu,
    among: limits.gpus,
    signal: waiting.waiting,
    onWait(holders) {
      if (!wait) {
        throw new BusyError(`"${stage.id}" needs a GPU of ${holders}`);
      }
      sayWaiting(stage, `Waiting for a GPU of ${holders}`, waiting);
    },
  });
}

/**
 * Takes GPUs, waiting until so many are free. Each is a lock that all
 * processes of this machine share.
 *
 * @throws {StageFailure} If there are fewer.
 */
export async function holdGpus(
  { count, among, onWait, signal }: WantedGpus,
): Promise<HeldGpus> {
  checkGpus(count, among);
  const folder = lockFolder();
  for (let told = false;;) {
    signal.throwIfAborted();
    const held: { id: string; lock: Lock }[] = [];
    const taken: string[] = [];
    for (const id of among) {
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
    if (among.length - taken.length < count && !told) {
      onWait(taken.join(", "));
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

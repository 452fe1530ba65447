import { join } from "node:path";
import type { GraphStage, Resources } from "../pipeline/graph.ts";
import { digest } from "../store/digest.ts";
import {
  isHeldHere,
  type Lock,
  lockFile,
  lockHolder,
  tryLockFile,
} from "../store/locks.ts";
import { fingerprint } from "../store/stats.ts";
import type { Context } from "./context.ts";
import type { Event } from "./events.ts";
import { BusyError, StageFailure } from "./failure.ts";
import type { Limits } from "./settings.ts";

/** What a stage holds of the machine while it runs. */
export interface Claim extends Resources {
  readonly mutex?: string;
}

interface Waiter {
  readonly claim: Claim;
  readonly admit: () => void;
}

/**
 * Makes sure that so many GPUs can be had at all.
 *
 * @throws {StageFailure} If there are fewer.
 */
function checkGpus(count: number, ids: readonly string[]): void {
  if (count <= ids.length) return;
  throw new StageFailure(
    `It needs ${
      count === 1 ? "a GPU" : `${count} GPUs`
    }, and ${ids.length} can be used (--gpus, CUDA_VISIBLE_DEVICES)`,
  );
}

/** Shares the machine out among the stages of one run: first come, first served, if it fits. */
export class Slots {
  readonly #limits: Limits;
  readonly #held = new Set<Claim>();
  readonly #waiters = new Set<Waiter>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /**
   * Waits until the claim fits, and holds it until disposed of. What asks for
   * more processors or memory than there are gets all there are.
   *
   * @throws {StageFailure} If it asks for more GPUs than there are.
   */
  async take(claim: Claim, signal: AbortSignal): Promise<Disposable> {
    const { cpus, memory, gpus } = this.#limits;
    checkGpus(claim.gpu, gpus);
    const capped = {
      ...claim,
      cpus: Math.min(claim.cpus, cpus),
      memory: Math.min(claim.memory, memory),
    };
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        this.#waiters.delete(waiter);
        reject(signal.reason);
      };
      const waiter = {
        claim: capped,
        admit: () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
      this.#admit();
    });
    return {
      [Symbol.dispose]: () => {
        this.#held.delete(capped);
        this.#admit();
      },
    };
  }

  #admit(): void {
    for (const waiter of this.#waiters) {
      if (!this.#fits(waiter.claim)) continue;
      this.#waiters.delete(waiter);
      this.#held.add(waiter.claim);
      waiter.admit();
    }
  }

  #fits(claim: Claim): boolean {
    const { jobs, cpus, memory, gpus } = this.#limits;
    const held = [...this.#held];
    const sum = (name: "cpus" | "memory" | "gpu") =>
      held.reduce((total, other) => total + other[name], claim[name]);
    return held.length < jobs && sum("cpus") <= cpus &&
      sum("memory") <= memory && sum("gpu") <= gpus.length &&
      (claim.mutex === undefined ||
        held.every((other) => other.mutex !== claim.mutex));
  }
}

/** What a stage holds of the machine: what it asks for, and the GPUs that its runtimes compute on. */
export function claimOf(
  { runtimes }: Pick<Context, "runtimes">,
  { declaration, resources, mutex }: GraphStage,
): Claim {
  const needed = declaration.needs.map((name) => runtimes.get(name)?.gpus ?? 0);
  return {
    ...resources,
    gpu: Math.max(resources.gpu, ...needed),
    ...(mutex !== undefined && { mutex }),
  };
}

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
function sayWaiting(
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

/** Milliseconds between two looks for a free GPU. */
const PAUSE = 100;

/** GPUs that no other stage on this machine uses until they are given back. */
export interface HeldGpus extends Disposable {
  readonly ids: readonly string[];
}

/** GPUs that are wanted, and what to do while others hold them. */
interface WantedGpus {
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

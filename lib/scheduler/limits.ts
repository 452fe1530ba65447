import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import { digest } from "../files/digest.ts";
import { isHeldHere, type Lock, lockFile } from "../files/locks.ts";
import { type Context, stageOf } from "./context.ts";
import type { Event, ExpectedStage } from "./events.ts";
import type { Executor, JobResources } from "./executors/executor.ts";
import { BusyError } from "./failure.ts";
import { type HeldGpus, holdGpus } from "./gpus.ts";
import type { Limits } from "./settings.ts";

/** Resources of a stage's process. Its number of GPUs is the larger of what the stage requests and what its runtimes need. */
export function resourcesOf(
  { runtimes }: Pick<Context, "runtimes">,
  { declaration, resources, timeout }: GraphStage,
): JobResources {
  const { cpus, memory, gpu, time } = resources;
  const needed = declaration.needs.map((name) => runtimes.get(name)?.gpus ?? 0);
  return {
    cpus,
    gpus: Math.max(gpu, ...needed),
    memory,
    ...(time !== undefined && { time }),
    ...(timeout !== undefined && { timeout }),
  };
}

/** The executor that runs a stage. */
export function executorOf(
  { settings: { executor } }: Pick<Context, "settings">,
  { task, declaration }: GraphStage,
): Executor {
  return executor.of?.(task, declaration.local) ?? executor;
}

/** Share of the limits that a running stage takes up. */
export interface Claim extends Pick<JobResources, "cpus" | "gpus" | "memory"> {
  readonly mutex?: string;
}

/** The claim of a stage: its mutex and, unless the executor allots them itself, its resources. */
export function claimOf(context: Context, stage: GraphStage): Claim {
  const { mutex } = stage;
  return {
    ...(executorOf(context, stage).allots
      ? { cpus: 0, gpus: 0, memory: 0 }
      : resourcesOf(context, stage)),
    ...(mutex !== undefined && { mutex }),
  };
}

/** Resources of the stages of a run, and durations of their earlier runs. */
export function expectation(context: Context): Event & { type: "expected" } {
  const { graph: { pipeline }, settings: { limits }, store } = context;
  /** Durations of results, by the name of the stage. */
  const seen = new Map<string, number[]>();
  const stages = [...context.selected].map((id) => {
    const stage = stageOf(context, id);
    const { cpus, gpus } = claimOf(context, stage);
    const [last] = store.results(pipeline, id);
    const seconds = last?.seconds;
    if (seconds !== undefined) {
      seen.set(stage.name, [...seen.get(stage.name) ?? [], seconds]);
    }
    const needs = [...new Set(Object.values(stage.inputs).flat())];
    return { stage: id, name: stage.name, needs, cpus, gpus, seconds };
  });
  return {
    type: "expected",
    stages: stages.map(({ name, seconds, ...stage }): ExpectedStage => {
      const others = seen.get(name);
      const expected = seconds ??
        (others && others.reduce((sum, it) => sum + it, 0) / others.length);
      return {
        ...stage,
        ...(expected !== undefined && { seconds: expected }),
      };
    }),
    cpus: limits.cpus,
    gpus: limits.gpus.length,
    jobs: limits.jobs,
  };
}

interface Waiter {
  readonly claim: Claim;
  readonly admit: () => void;
}

/** Keeps the running stages of one run within the limits. Among the stages that fit, the one that has waited longest runs first. */
export class Slots {
  readonly #limits: Limits;
  readonly #held = new Set<Claim>();
  readonly #waiters = new Set<Waiter>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /**
   * Waits until the claim fits, and holds it until disposed of. A claim on more
   * than the limits allow is reduced to them.
   */
  async take(claim: Claim, signal: AbortSignal): Promise<Disposable> {
    const { cpus, memory, gpus } = this.#limits;
    const capped = {
      ...claim,
      cpus: Math.min(claim.cpus, cpus),
      memory: Math.min(claim.memory, memory),
      gpus: Math.min(claim.gpus, gpus.length),
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
    const sum = (name: "cpus" | "memory" | "gpus") =>
      held.reduce((total, other) => total + other[name], claim[name]);
    return held.length < jobs && sum("cpus") <= cpus &&
      sum("memory") <= memory && sum("gpus") <= gpus.length &&
      (claim.mutex === undefined ||
        held.every((other) => other.mutex !== claim.mutex));
  }
}

/** How a stage waits for another process. */
interface Waiting {
  readonly emit: (event: Event) => void;
  /** Cancels waiting. */
  readonly waiting: AbortSignal;
}

/**
 * Takes the lock of a key, which is held while the key is looked up, the stage
 * runs and its result is committed.
 *
 * @throws {BusyError} If another process holds it and `Settings.wait` is false.
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
 * Takes the stage's mutex, if it has one, among all processes that share the
 * cache.
 *
 * @throws {BusyError} If another process holds it and `Settings.wait` is false.
 */
export async function lockMutex(
  context: Context,
  stage: GraphStage,
  waiting: Waiting,
): Promise<Lock | undefined> {
  const { id, mutex } = stage;
  if (mutex === undefined) return undefined;
  const name = `mutex-${(await digest(mutex)).slice(0, 16)}`;
  return await lock(context, stage, name, waiting, {
    refuse: (holder) =>
      `"${id}" needs the mutex "${mutex}", which ${holder} holds`,
    wait: (holder) => `Waiting for ${holder}, which holds the mutex "${mutex}"`,
  });
}

async function lock(
  { settings, store }: Context,
  stage: GraphStage,
  name: string,
  { emit, waiting }: Waiting,
  messages: Record<"refuse" | "wait", (holder: string) => string>,
): Promise<Lock> {
  const path = join(store.makeFolder("locks"), name);
  return await lockFile(path, {
    signal: waiting,
    onWait(holder) {
      // Another stage of this process will release it.
      if (!settings.wait && !isHeldHere(path)) {
        throw new BusyError(messages.refuse(holder));
      }
      emit(waitingFor(stage, messages.wait(holder)));
    },
  });
}

function waitingFor({ id }: GraphStage, line: string): Event {
  return { type: "log", stage: id, line, stream: "log" };
}

/**
 * Takes the GPUs that a stage needs, waiting until they are free.
 *
 * @returns Undefined if the executor allots GPUs itself.
 * @throws {Error} If the stage needs more than the limits allow.
 * @throws {BusyError} If another process holds them and `Settings.wait` is false.
 */
export async function takeGpus(
  context: Context,
  stage: GraphStage,
  { emit, waiting }: Waiting,
): Promise<HeldGpus | undefined> {
  const { wait, limits } = context.settings;
  if (executorOf(context, stage).allots) return undefined;
  return await holdGpus({
    count: resourcesOf(context, stage).gpus,
    among: limits.gpus,
    signal: waiting,
    onWait(holders) {
      if (!wait) {
        throw new BusyError(`"${stage.id}" needs a GPU held by ${holders}`);
      }
      emit(waitingFor(stage, `Waiting for a GPU held by ${holders}`));
    },
  });
}

import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import { digest } from "../files/digest.ts";
import { isHeldHere, type Lock, lockFile } from "../files/locks.ts";
import type { Context, Run } from "./context.ts";
import type { Expectation, ExpectedStage } from "./events.ts";
import type { Executor, JobResources } from "./executors/executor.ts";
import { BusyError } from "./failure.ts";
import type { HeldGpus } from "./gpus.ts";
import type { Limits } from "./settings.ts";

/**
 * Resources of a stage's process. Its number of GPUs is the larger of what the
 * stage requests and what its runtimes need.
 */
export function resourcesOf(
  { runtimes }: Pick<Context, "runtimes">,
  { declaration, resources: { gpu, ...resources }, timeout }: GraphStage,
): JobResources {
  const needed = declaration.needs.map((name) => runtimes.get(name)?.gpus ?? 0);
  return { ...resources, gpus: Math.max(gpu, ...needed), timeout };
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
  readonly mutex?: string | undefined;
}

/**
 * The claim of a stage: its mutex and, unless the executor allots them itself,
 * its resources.
 */
export function claimOf(
  context: Pick<Context, "settings" | "runtimes">,
  stage: GraphStage,
): Claim {
  const resources = executorOf(context, stage).allots
    ? { cpus: 0, gpus: 0, memory: 0 }
    : resourcesOf(context, stage);
  return { ...resources, mutex: stage.mutex };
}

/** Resources of the stages of a run, and durations of their earlier runs. */
export function expectation(
  context: Omit<Context, "code" | "prepared">,
): Expectation {
  const { graph, settings: { limits }, store } = context;
  const stages = [...context.selected].map((id) => graph.stages.get(id)!);
  return {
    type: "expected",
    stages: stages.map((stage): ExpectedStage => {
      const { cpus, gpus } = claimOf(context, stage);
      const needs = [...new Set(Object.values(stage.inputs).flat())];
      const [last] = store.results(graph.pipeline, stage.id);
      const expected = last && { seconds: last.seconds };
      return { stage: stage.id, needs, cpus, gpus, ...expected };
    }),
    cpus: limits.cpus,
    gpus: limits.gpus.length,
    jobs: limits.jobs,
  };
}

/**
 * Keeps the running stages of one run within the limits. Among the stages that
 * fit, the one that has waited longest runs first.
 */
export class Slots {
  readonly #held = new Set<Claim>();
  /** Claims that wait, with what admits them. */
  readonly #waiting = new Map<Claim, () => void>();

  constructor(private readonly limits: Limits) {}

  /**
   * Waits until the claim fits, and holds it until disposed of. A claim on more
   * than the limits allow is reduced to them.
   */
  async take(claim: Claim, signal: AbortSignal): Promise<Disposable> {
    const { cpus, memory, gpus } = this.limits;
    const capped = {
      ...claim,
      cpus: Math.min(claim.cpus, cpus),
      memory: Math.min(claim.memory, memory),
      gpus: Math.min(claim.gpus, gpus.length),
    };
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => {
      this.#waiting.delete(capped);
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort);
    this.#waiting.set(capped, resolve);
    this.#admit();
    await promise.finally(() => signal.removeEventListener("abort", onAbort));
    return {
      [Symbol.dispose]: () => {
        this.#held.delete(capped);
        this.#admit();
      },
    };
  }

  #admit(): void {
    for (const [claim, admit] of this.#waiting) {
      if (!this.#fits(claim)) continue;
      this.#waiting.delete(claim);
      this.#held.add(claim);
      admit();
    }
  }

  #fits(claim: Claim): boolean {
    const { jobs, cpus, memory, gpus } = this.limits;
    const held = [...this.#held];
    const sum = (name: "cpus" | "memory" | "gpus") =>
      held.reduce((total, other) => total + other[name], claim[name]);
    return held.length < jobs && sum("cpus") <= cpus &&
      sum("memory") <= memory && sum("gpus") <= gpus.length &&
      (claim.mutex === undefined ||
        held.every((other) => other.mutex !== claim.mutex));
  }
}

/**
 * Takes the stage's mutex, if it has one, among all processes that share the
 * cache.
 *
 * @throws {BusyError} If another process holds it and `Settings.wait` is false.
 */
export async function lockMutex(
  run: Run,
  stage: GraphStage,
): Promise<Lock | undefined> {
  const { mutex } = stage;
  if (mutex === undefined) return undefined;
  const name = `mutex-${(await digest(mutex)).slice(0, 16)}`;
  return await lock(run, stage, name, `holds the mutex "${mutex}"`);
}

/**
 * Takes the GPUs that a stage needs, waiting until they are free.
 *
 * @returns Undefined if the executor allots GPUs itself.
 * @throws {Error} If the stage needs more than the limits allow.
 * @throws {BusyError} If another process holds them and `Settings.wait` is
 * false.
 */
export async function takeGpus(
  run: Run,
  stage: GraphStage,
): Promise<HeldGpus | undefined> {
  if (executorOf(run, stage).allots) return undefined;
  const { holdGpus } = await import("./gpus.ts");
  return await holdGpus(run.store, {
    count: resourcesOf(run, stage).gpus,
    among: run.settings.limits.gpus,
    signal: run.waiting,
    onWait: (holders) => announceWait(run, stage, `a GPU held by ${holders}`),
  });
}

/**
 * Takes a lock of the cache for a stage, waiting until it is free.
 *
 * @param does What the process that holds it does: `runs the same stage`.
 * @throws {BusyError} If another process holds it and `Settings.wait` is false.
 */
export async function lock(
  run: Run,
  stage: GraphStage,
  name: string,
  does: string,
): Promise<Lock> {
  const path = join(run.store.makeFolder("locks"), name);
  return await lockFile(path, {
    signal: run.waiting,
    // Another stage of this process will release it.
    onWait: (holder) =>
      announceWait(run, stage, `${holder}, which ${does}`, isHeldHere(path)),
  });
}

/**
 * Says what a stage waits for.
 *
 * @param isOwn True if another stage of this process holds it: then a stage may
 * wait in any case.
 * @throws {BusyError} If it may not wait.
 */
function announceWait(
  { emit, settings }: Run,
  { id }: GraphStage,
  what: string,
  isOwn = false,
): void {
  if (!settings.wait && !isOwn) {
    throw new BusyError(`"${id}" would have to wait for ${what}`);
  }
  const line = `Waiting for ${what}`;
  emit({ type: "log", stage: id, line, stream: "log" });
}

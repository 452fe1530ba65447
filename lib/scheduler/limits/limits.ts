import type { Resources } from "../../pipeline/graph.ts";
import { StageFailure } from "../failure.ts";
import type { Limits } from "../settings.ts";

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
export function checkGpus(count: number, ids: readonly string[]): void {
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

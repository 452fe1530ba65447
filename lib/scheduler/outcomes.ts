import type { Manifest } from "../store/manifests.ts";
import type { Context } from "./context.ts";
import type { Decision, Event, Outcome } from "./events.ts";
import { messageOf } from "./failure.ts";
import { visibleFolder } from "./visible.ts";

const NONE = {
  ran: 0,
  restored: 0,
  unchanged: 0,
  failed: 0,
  skipped: 0,
  interrupted: 0,
};

/** Emits and counts the outcomes of stages. A stage that starts over has several outcomes; the last one counts. */
export class Outcomes {
  readonly #context: Context;
  readonly #emit: (event: Event) => void;
  readonly #last = new Map<
    string,
    { outcome: Outcome; manifest?: Manifest }
  >();

  constructor(context: Context, emit: (event: Event) => void) {
    this.#context = context;
    this.#emit = emit;
  }

  /** Keys of all results. */
  get keys(): string[] {
    return [...this.#last.values()]
      .flatMap(({ manifest }) => manifest?.key ?? []);
  }

  /** Number of stages with each outcome. */
  get counts(): Record<Outcome, number> {
    const counts = { ...NONE };
    for (const { outcome } of this.#last.values()) counts[outcome]++;
    return counts;
  }

  /** Seconds that the runs took whose results the cache had. */
  get savedSeconds(): number {
    return [...this.#last.values()]
      .filter(({ outcome }) => outcome !== "ran")
      .reduce((sum, { manifest }) => sum + (manifest?.seconds ?? 0), 0);
  }

  decided(stage: string, decision: Decision): void {
    this.#emit({ type: "decided", stage, decision });
  }

  succeeded(
    stage: string,
    outcome: "ran" | "restored" | "unchanged",
    manifest: Manifest,
    seconds: number,
  ): void {
    this.#last.set(stage, { outcome, manifest });
    this.#finished(stage, outcome, seconds);
  }

  skipped(stage: string, reason: string): void {
    this.#last.set(stage, { outcome: "skipped" });
    this.decided(stage, { state: "skip", reason });
    this.#finished(stage, "skipped", 0, reason);
  }

  /** Its interruption has been emitted already. */
  interrupted(stage: string): void {
    this.#last.set(stage, { outcome: "interrupted" });
  }

  /** @param error Undefined if the failure has been emitted already. */
  failed(stage: string, error?: unknown): void {
    this.#last.set(stage, { outcome: "failed" });
    if (error === undefined) return;
    this.#emit({
      type: "failed",
      stage,
      attempt: 0,
      message: messageOf(error, this.#context.store),
      log: "",
      retry: false,
    });
  }

  #finished(
    stage: string,
    outcome: Exclude<Outcome, "failed" | "interrupted">,
    seconds: number,
    note?: string,
  ): void {
    const { graph: { pipeline }, settings } = this.#context;
    this.#emit({
      type: "finished",
      stage,
      outcome,
      seconds,
      output: visibleFolder(settings.out, pipeline, { id: stage }),
      ...(note !== undefined && { note }),
    });
  }
}

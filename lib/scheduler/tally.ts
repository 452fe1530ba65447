import type { Manifest } from "../store/manifest.ts";
import type { Context } from "./context.ts";
import type { Decision, Event, Summary } from "./events.ts";
import { inWords } from "./failure.ts";
import { visibleFolder } from "./attempts/visible.ts";

type Outcome = "ran" | "restored" | "unchanged" | "failed" | "skipped";

/** Says what becomes of stages, and keeps count of it. */
export class Tally {
  readonly #context: Context;
  readonly #emit: (event: Event) => void;
  /** The last outcome of each stage, and the key of its result if it has one. */
  readonly #outcomes = new Map<string, { outcome: Outcome; key?: string }>();

  constructor(context: Context, emit: (event: Event) => void) {
    this.#context = context;
    this.#emit = emit;
  }

  /** Keys of the results that the stages came to. */
  get keys(): string[] {
    return [...this.#outcomes.values()].flatMap(({ key }) => key ?? []);
  }

  /** How many stages came to each end. */
  get counts(): Omit<Summary, "type" | "seconds"> {
    const counts = { ran: 0, restored: 0, unchanged: 0, failed: 0, skipped: 0 };
    for (const { outcome } of this.#outcomes.values()) counts[outcome]++;
    return counts;
  }

  decided(stage: string, decision: Decision): void {
    this.#emit({ type: "decided", stage, decision });
  }

  /** A stage has a result now. */
  succeeded(
    stage: string,
    outcome: "ran" | "restored" | "unchanged",
    { key }: Manifest,
    seconds: number,
  ): void {
    this.#outcomes.set(stage, { outcome, key });
    this.#finished(stage, outcome, seconds);
  }

  /** A stage was not tried. */
  skipped(stage: string, reason: string): void {
    this.#outcomes.set(stage, { outcome: "skipped" });
    this.decided(stage, { state: "skip", reason });
    this.#finished(stage, "skipped", 0, reason);
  }

  /** A stage failed; `error` is given if that was not said yet. */
  failed(stage: string, error?: unknown): void {
    this.#outcomes.set(stage, { outcome: "failed" });
    if (error === undefined) return;
    const message = inWords(error, this.#context.store);
    this.#emit({
      type: "failed",
      stage,
      attempt: 0,
      message,
      log: "",
      retry: false,
    });
  }

  #finished(
    stage: string,
    outcome: Exclude<Outcome, "failed">,
    seconds: number,
    note?: string,
  ): void {
    const { graph: { pipeline }, settings } = this.#context;
    const output = visibleFolder(settings.out, pipeline, { id: stage });
    this.#emit({
      type: "finished",
      stage,
      outcome,
      seconds,
      output,
      ...(note !== undefined && { note }),
    });
  }
}

import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import * as z from "zod";
import type { HeadName } from "../../../lib/engine/models/model.ts";

/** The work of both sides of a benchmark. */
export interface PeerWork {
  /** Fields of a Hugging Face `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Modules with LoRA, as PEFT names them. */
  readonly target_modules: readonly string[];
  /** Modules of the head, which are trained themselves. */
  readonly modules_to_save: readonly string[];
  readonly precision: "f32" | "bf16";
  /** Sequences of a batch. */
  readonly batch: number;
  /** Tokens of a sequence. */
  readonly length: number;
  readonly rank: number;
  readonly alpha: number;
  readonly labels: number;
  readonly head: HeadName;
  readonly threads: number;
}

const Prepared = z.strictObject({ trained: z.int().positive() });

const Timed = z.strictObject({
  seconds: z.array(z.number().positive()),
  loss: z.number().optional(),
  peak_bytes: z.int().positive(),
});

/**
 * Seconds of each repetition, and the memory that the process has needed so
 * far.
 */
export type Timed = z.output<typeof Timed>;

/**
 * PyTorch, transformers and PEFT in a separate process, which works only when
 * asked, so that a benchmark can take turns with it.
 *
 * ```ts
 * await using peer = Peer.start(Deno.env.get("PEFT_PYTHON")!);
 * await peer.prepare({ config, precision: "f32", batch: 16, length: 64, ... });
 * const { seconds } = await peer.step(1);
 * ```
 */
export class Peer implements AsyncDisposable {
  readonly #ask: (request: Record<string, unknown>) => Promise<string>;
  readonly #stop: () => Promise<void>;

  private constructor(
    ask: (request: Record<string, unknown>) => Promise<string>,
    stop: () => Promise<void>,
  ) {
    this.#ask = ask;
    this.#stop = stop;
  }

  /** @param python Python of an environment that `setup.sh` made. */
  static start(python: string): Peer {
    const script = join(import.meta.dirname!, "step.py");
    return Peer.run(python, ["-W", "ignore", script]);
  }

  /** Starts any program that answers the same requests. */
  static run(program: string, args: readonly string[]): Peer {
    const child = spawn(program, args, {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = new Promise<string>((resolve) => {
      child.on("error", (error) => resolve(error.message));
      child.on("close", (code) => resolve(`exit code ${code}`));
    });
    // Its failures show as an end of the process; a broken pipe adds nothing.
    child.stdin.on("error", () => {});
    const replies = createInterface({ input: child.stdout })
      [Symbol.asyncIterator]();
    return new Peer(async (request) => {
      child.stdin.write(JSON.stringify(request) + "\n");
      // A process that never started leaves its output open.
      const reply = await Promise.race([replies.next(), ended]);
      if (typeof reply === "object" && !reply.done) return reply.value;
      throw new Error(
        `The peer "${program}" ended at "${request.op}": ${await ended}`,
      );
    }, async () => {
      child.stdin.end();
      await ended;
    });
  }

  /** Builds the model; the process keeps one. */
  async prepare(work: PeerWork): Promise<{ trained: number }> {
    const reply = await this.#ask({ op: "prepare", ...work });
    return Prepared.parse(JSON.parse(reply));
  }

  /** Times optimizer steps. */
  async step(count: number): Promise<Timed> {
    return Timed.parse(JSON.parse(await this.#ask({ op: "step", count })));
  }

  /** Times passes of the batch through one adapter for each rank. */
  async evaluate(ranks: readonly number[], count: number): Promise<Timed> {
    const reply = await this.#ask({ op: "evaluate", ranks, count });
    return Timed.parse(JSON.parse(reply));
  }

  /** Times what is written after random prompts, once. */
  async generate(
    work: Readonly<Record<"prompts" | "length" | "tokens" | "beams", number>>,
  ): Promise<Timed> {
    const reply = await this.#ask({ op: "generate", ...work });
    return Timed.parse(JSON.parse(reply));
  }

  /** Ends the process. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#stop();
  }
}

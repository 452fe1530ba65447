import { join } from "node:path";

/** What PEFT and transformers are asked for: see peft_logits.py. */
export interface PeftRequest {
  /** Folder of the base model. */
  readonly model: string;
  /** Safetensors file of the token ids, types and offsets of the examples. */
  readonly tokens: string;
  /** Number of outputs of the head. */
  readonly labels: number;
  /** Whether each token has a label, instead of each example. */
  readonly tokens_have_labels?: boolean;
  /** The `problem_type` of transformers, if it matters. */
  readonly problem_type?: string;
  /** Folders of exported adapters. */
  readonly adapters: readonly string[];
  /** Folders of merged models. */
  readonly models: readonly string[];
  /** An adapter that PEFT is to make. */
  readonly write?: {
    readonly folder: string;
    /** Fields of PEFT's LoraConfig. */
    readonly config: Readonly<Record<string, unknown>>;
  };
}

/**
 * Logits, flat, of each adapter and model of a request, and of the adapter that
 * PEFT made.
 */
export interface PeftLogits {
  readonly adapters: number[][];
  readonly models: number[][];
  /** The `problem_type` of each model. */
  readonly problem_types: string[];
  readonly written?: number[];
}

/**
 * PEFT in a process of its own that answers many requests, since importing
 * PyTorch takes seconds.
 */
export class PeftProcess {
  readonly #process: Deno.ChildProcess;
  readonly #requests: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: ReadableStreamDefaultReader<string>;
  /** What was read behind the last whole line. */
  #rest = "";

  constructor(python: string) {
    this.#process = new Deno.Command(python, {
      args: [join(import.meta.dirname!, "peft_logits.py")],
      env: { HF_HUB_OFFLINE: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#requests = this.#process.stdin.getWriter();
    this.#answers = this.#process.stdout
      .pipeThrough(new TextDecoderStream())
      .getReader();
  }

  /**
   * Asks for logits.
   *
   * @throws {Error} with Python's traceback, if the request fails
   */
  async ask(request: PeftRequest): Promise<PeftLogits> {
    const line = `${JSON.stringify(request)}\n`;
    await this.#requests.write(new TextEncoder().encode(line));
    const answer = JSON.parse(await this.#readLine());
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  /** Closes its input and waits until it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#requests.close();
    await this.#answers.cancel();
    await this.#process.status;
  }

  async #readLine(): Promise<string> {
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#answers.read();
      if (done) throw new Error("The process of PEFT ended");
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }
}

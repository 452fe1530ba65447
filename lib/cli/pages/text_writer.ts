import { confined } from "../../scheduler/landlock.ts";
import { sandboxOf, stageEnvironment } from "../../scheduler/permissions.ts";
import { join } from "../../files/paths.ts";
import { PROJECT } from "../arguments/options.ts";
import type {
  WriterMessage,
  WriterRequest,
  WriterStart,
} from "../../problems/continuation.ts";
import type { HeldEngine } from "../runtime/engine.ts";

/**
 * A process that writes texts with an adapter, one at a time
 * (lib/stages/writer.ts).
 */
export class TextWriter implements AsyncDisposable {
  /** Aborted, with the error, when the process ends. */
  readonly ended: AbortSignal;
  readonly #ended = new AbortController();
  readonly #ready = Promise.withResolvers<readonly number[]>();
  readonly #requests: WritableStreamDefaultWriter<Uint8Array>;
  readonly #encoder = new TextEncoder();
  /** Resolves when the process has ended and all of its output is read. */
  readonly #reading: Promise<void>;
  /** Number of requests, and id of the last one. */
  #count = 0;
  /** Of the answer to the last request, while it is not complete. */
  #answer: ReadableStreamDefaultController | undefined;

  /** @param child Its standard input and output are pipes. */
  constructor(child: Deno.ChildProcess) {
    this.ended = this.#ended.signal;
    this.#requests = child.stdin.getWriter();
    // `ended` has the error too, for whoever does not wait for the ranks.
    this.#ready.promise.catch(() => {});
    this.#reading = this.#follow(child);
  }

  /**
   * The ranks that the adapter serves, when the process is ready.
   *
   * @throws {Error} If it ends before.
   */
  get ranks(): Promise<readonly number[]> {
    return this.#ready.promise;
  }

  /**
   * What follows a text at a rank, as lines of JSON, a line for each token; it
   * ends the text before.
   */
  write(text: string, rank: number): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#count++;
    const id = this.#count;
    return new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: async (controller) => {
        this.#finish();
        this.#answer = controller;
        const request: WriterRequest = { id, text, rank };
        const line = JSON.stringify(request) + "\n";
        await this.#requests.write(this.#encoder.encode(line));
      },
      cancel: () => {
        if (id === this.#count) this.#answer = undefined;
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#requests.close().catch(() => {});
    await this.#reading;
  }

  #finish(): void {
    this.#answer?.close();
    this.#answer = undefined;
  }

  /** Passes the lines that the process prints on to the last request. */
  async #follow(child: Deno.ChildProcess): Promise<void> {
    let rest = "";
    const texts = child.stdout.pipeThrough(new TextDecoderStream());
    for await (const text of texts) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const message: WriterMessage = JSON.parse(line);
        if ("ranks" in message) {
          this.#ready.resolve(message.ranks);
          continue;
        }
        if (message.id !== this.#count) continue;
        this.#answer?.enqueue(this.#encoder.encode(line + "\n"));
        if (!("written" in message)) this.#finish();
      }
    }
    const { code, signal } = await child.status;
    const how = signal ?? `code ${code}`;
    const error = new Error(`The process that writes texts has ended: ${how}`);
    this.#answer?.error(error);
    this.#ready.reject(error);
    this.#ended.abort(error);
  }
}

/**
 * Starts the process of a {@linkcode TextWriter}, confined as a stage is.
 *
 * @param folder Existing folder for its temporary files
 * @param signal Ends it
 */
export function startTextWriter(
  { engine, gpus }: HeldEngine,
  artifacts: { readonly model: string; readonly adapter: string },
  folder: string,
  signal: AbortSignal,
): TextWriter {
  const temporary = join(folder, "writer");
  Deno.mkdirSync(temporary);
  const shared = engine.sharedFiles?.settings(temporary);
  const cpus = navigator.hardwareConcurrency;
  const start: WriterStart = {
    ...artifacts,
    engine: { ...engine.settings, ...shared },
    cpus,
  };
  const read = ["deno.json", "deno.lock", "lib", "node_modules"]
    .map((name) => join(PROJECT, name)).concat(Object.values(artifacts));
  const sandbox = sandboxOf({}, { read, write: [temporary] }, [engine]);
  if ("state" in sandbox) throw new Error(sandbox.message);
  const { flags, rules } = sandbox;
  const args = [
    "run",
    "--quiet",
    "--no-check",
    "--cached-only",
    "--no-code-cache",
    "--node-modules-dir=manual",
    ...flags,
    join(PROJECT, "lib/stages/writer.ts"),
    JSON.stringify(start),
  ];
  const child = new Deno.Command(Deno.execPath(), {
    args: confined(args, rules, join(folder, "rules.json"), console.error),
    env: {
      ...stageEnvironment({}, [engine], temporary, PROJECT),
      CUDA_VISIBLE_DEVICES: gpus.join(),
    },
    // Ctrl-C signals the server only.
    detached: true,
    clearEnv: true,
    signal,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  return new TextWriter(child);
}

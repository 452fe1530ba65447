import type { Runtime } from "../../scheduler/settings.ts";
import { join } from "../../files/paths.ts";
import { PROJECT } from "../arguments/options.ts";

/** A process that writes texts with an adapter, one at a time. */
export interface TextWriter extends AsyncDisposable {
  /** Ranks that the adapter serves. */
  readonly ranks: readonly number[];
  /** What follows a text at a rank, as lines of JSON, a line for each token; it ends the text before. */
  write(text: string, rank: number): ReadableStream<Uint8Array<ArrayBuffer>>;
}

/**
 * Starts {@linkcode TextWriter} (lib/stages/writer.ts).
 *
 * @throws {Error} If the process ends before it is ready; what is wrong is on standard error.
 */
export async function startTextWriter(
  { flags, settings }: Pick<Runtime, "flags" | "settings">,
  env: Readonly<Record<string, string>>,
  given: { readonly model: string; readonly adapter: string },
): Promise<TextWriter> {
  const start = {
    ...given,
    engine: settings,
    cpus: navigator.hardwareConcurrency,
  };
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-check", "--no-prompt"],
      ...["--allow-read", "--allow-env", ...flags],
      ...[join(PROJECT, "lib/stages/writer.ts"), JSON.stringify(start)],
    ],
    ...{ env, stdin: "piped", stdout: "piped", stderr: "inherit" },
  }).spawn();
  const requests = child.stdin.getWriter();
  const encoder = new TextEncoder();
  let count = 0;
  let current: ReadableStreamDefaultController | undefined;
  const finish = () => {
    current?.close();
    current = undefined;
  };
  const ready = Promise.withResolvers<readonly number[]>();
  const read = async () => {
    let rest = "";
    for await (
      const text of child.stdout.pipeThrough(new TextDecoderStream())
    ) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const { id, ranks, ...message } = JSON.parse(line);
        if (ranks !== undefined) ready.resolve(ranks);
        if (id !== count) continue;
        current?.enqueue(encoder.encode(line + "\n"));
        if (message.written === undefined) finish();
      }
    }
    const error = new Error("The process that writes texts has ended");
    current?.error(error);
    ready.reject(error);
  };
  const reading = read();
  return {
    ranks: await ready.promise,
    write: (text, rank) =>
      new ReadableStream({
        async start(controller) {
          finish();
          current = controller;
          const request = JSON.stringify({ id: ++count, text, rank });
          await requests.write(encoder.encode(request + "\n"));
        },
        cancel: () => current = undefined,
      }),
    async [Symbol.asyncDispose]() {
      await requests.close().catch(() => {});
      await reading;
      await child.status;
    },
  };
}

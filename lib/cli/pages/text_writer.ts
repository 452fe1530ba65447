import { confined } from "../../scheduler/landlock.ts";
import { sandboxOf, stageEnvironment } from "../../scheduler/permissions.ts";
import { join } from "../../files/paths.ts";
import { PROJECT } from "../arguments/options.ts";
import type { HeldEngine } from "../runtime/engine.ts";

/**
 * Starts a process that writes texts with an adapter, one at a time
 * (lib/stages/writer.ts), confined as a stage is.
 *
 * @param folder Existing folder for its temporary files
 * @param signal Ends it
 * @throws {Error} If the process ends before it is ready; what is wrong is on
 * standard error.
 */
export async function startTextWriter(
  { engine, gpus }: HeldEngine,
  given: { readonly model: string; readonly adapter: string },
  folder: string,
  signal: AbortSignal,
) {
  const temporary = join(folder, "writer");
  Deno.mkdirSync(temporary);
  const shared = engine.sharedFiles?.settings(temporary);
  const cpus = navigator.hardwareConcurrency;
  const start = { ...given, engine: { ...engine.settings, ...shared }, cpus };
  const read = ["deno.json", "deno.lock", "lib", "node_modules"]
    .map((name) => join(PROJECT, name)).concat(Object.values(given));
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
  const requests = child.stdin.getWriter();
  const encoder = new TextEncoder();
  let count = 0;
  let current: ReadableStreamDefaultController | undefined;
  const finish = () => {
    current?.close();
    current = undefined;
  };
  const ended = new AbortController();
  const ready = Promise.withResolvers<readonly number[]>();
  const follow = async () => {
    let rest = "";
    const texts = child.stdout.pipeThrough(new TextDecoderStream());
    for await (const text of texts) {
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
    const { code, signal } = await child.status;
    const how = signal ?? `code ${code}`;
    const error = new Error(`The process that writes texts has ended: ${how}`);
    current?.error(error);
    ready.reject(error);
    ended.abort(error);
  };
  const reading = follow();
  return {
    /** Ranks that the adapter serves. */
    ranks: await ready.promise,
    /** Aborted, with the error, when the process ends. */
    ended: ended.signal,
    /**
     * What follows a text at a rank, as lines of JSON, a line for each token;
     * it ends the text before.
     */
    write(text: string, rank: number) {
      count++;
      const id = count;
      return new ReadableStream<Uint8Array<ArrayBuffer>>({
        async start(controller) {
          finish();
          current = controller;
          const request = JSON.stringify({ id, text, rank });
          await requests.write(encoder.encode(request + "\n"));
        },
        cancel() {
          if (id === count) current = undefined;
        },
      });
    },
    async [Symbol.asyncDispose]() {
      await requests.close().catch(() => {});
      await reading;
    },
  };
}

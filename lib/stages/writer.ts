/**
 * A process that writes texts for the page of `deno task try`. Its argument is
 * a {@linkcode WriterStart} as JSON; it reads a {@linkcode WriterRequest} a
 * line, and prints a {@linkcode WriterMessage} a line. A request ends the one
 * before.
 */
import { readAdapter } from "../peft/adapter.ts";
import { servedRanks } from "../artifacts/training.ts";
import type {
  WriterMessage,
  WriterRequest,
  WriterStart,
} from "../problems/continuation.ts";
import { problemOf } from "../problems/registry.ts";
import { textWriter } from "./generate.ts";
import { loadAdapter } from "./load_classifier.ts";
import { TEMPLATE_DATE } from "./settings.ts";

const { model, adapter: folder, engine, cpus }: WriterStart = JSON
  .parse(Deno.args[0]!);
const adapter = await readAdapter(folder);
const { training } = adapter;
const params = { precision: "auto" } as const;
const stage = { cpus, runtimes: { engine }, params };
const ready = await loadAdapter(stage, model, adapter);
const { maxLength } = ready.classifier.model;
const write = await textWriter(ready, training.isChat === true, {
  beams: 1,
  lengthPenalty: 1,
  batchSize: 1,
  date: TEMPLATE_DATE,
  maxTokens: Math.min(128, Math.floor(maxLength / 2)),
});
const { toExample } = problemOf(training);
const say = (message: WriterMessage) => console.log(JSON.stringify(message));
say({ ranks: servedRanks(training) });

let current = new AbortController();
let running = Promise.resolve();
for await (const line of linesOf(Deno.stdin.readable)) {
  current.abort();
  await running;
  current = new AbortController();
  running = answer(JSON.parse(line), current.signal);
}
current.abort();
await running;

async function answer(
  { id, text, rank }: WriterRequest,
  signal: AbortSignal,
): Promise<void> {
  try {
    await write([toExample({ text }, 0)], [rank], {
      signal,
      written: (_prompt, _rank, written) => say({ id, written }),
    });
    say({ id, isDone: true });
  } catch (error) {
    if (!signal.aborted) say({ id, problem: (error as Error).message });
  }
}

async function* linesOf(bytes: ReadableStream<Uint8Array<ArrayBuffer>>) {
  let rest = "";
  for await (const text of bytes.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

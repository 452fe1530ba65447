/**
 * Ends and outputs of processes that come while the scheduler's thread is busy,
 * as it is while it flushes large outputs.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { Event } from "../../lib/scheduler/events.ts";
import type { Ended } from "../../lib/scheduler/executors/executor.ts";
import { follow } from "../../lib/scheduler/process.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";
import { isAlive } from "./project.ts";

const DONE = '{"type":"done","printed":0}\n';
const LOG = '{"type":"log","line":"","printed":0}\n';

const now = performance.now.bind(performance);

/** Keeps the thread busy for some milliseconds, and until a condition holds. */
function beBusy(milliseconds: number, until = () => true): void {
  const end = now() + milliseconds;
  while (now() < end || !until());
}

/**
 * Follows a process that writes to a folder; resolves with its events if it
 * succeeds.
 */
async function followed(
  folder: string,
  ended: Promise<Ended>,
  more: {
    readonly timeout?: number;
    readonly onEvent?: () => void;
    readonly stop?: () => Promise<void>;
  } = {},
): Promise<Event[]> {
  const events: Event[] = [];
  const end = await follow(() => ({
    ended,
    started: Promise.resolve(),
    stop: more.stop ?? (() => Promise.resolve()),
  }), {
    ...{ stage: "a", folder, grace: 20 },
    emit(event) {
      events.push(event);
      more.onEvent?.();
    },
    timeout: more.timeout,
    signal: new AbortController().signal,
  });
  assertEquals(end.state, "done", JSON.stringify(end));
  return events;
}

for (
  const [limit, more] of [
    ["its timeout", { timeout: 2 }],
    ["the time to end after its task", {}],
  ] as const
) {
  Deno.test({
    name:
      `follow() takes the end of a process within ${limit}, however late the thread hears of it`,
    ignore: Deno.build.os !== "linux",
    fn: async () => {
      using folder = new TemporaryFolder();
      const process = new Deno.Command("sh", {
        args: ["-c", 'printf %s "$0" >events.jsonl; sleep 0.2', DONE + LOG],
        cwd: folder.path,
      }).spawn();
      const ended = process.status.then(({ code }) => ({ code }));
      // For the ten seconds that it may take to end.
      if (!("timeout" in more)) performance.now = () => 20 * now();
      try {
        await followed(folder.path, ended, {
          ...more,
          onEvent: () => beBusy(2_200, () => !isAlive(process.pid)),
        });
      } finally {
        performance.now = now;
      }
    },
  });
}

Deno.test("follow() reads all that a process has written before its end, the last line without a line break included", async () => {
  using folder = new TemporaryFolder();
  const ending = Promise.withResolvers<Ended>();
  const following = followed(folder.path, ending.promise);
  const write = (name: string, text: string) =>
    Deno.writeTextFileSync(join(folder.path, name), text);
  write("stdout", "printed\nlast");
  write("stderr", "complained");
  write("events.jsonl", DONE);
  ending.resolve({ code: 0 });
  beBusy(300);
  assertEquals(
    (await following).flatMap((it) =>
      it.type === "log" ? [`${it.stream}: ${it.line}`] : []
    ).toSorted(),
    ["stderr: complained", "stdout: last", "stdout: printed"],
  );
});

Deno.test("follow() waits for the rest of an event of any length, and splits what is printed without a line break", async () => {
  using folder = new TemporaryFolder();
  const ending = Promise.withResolvers<Ended>();
  const following = followed(folder.path, ending.promise);
  const line = "y".repeat(3_000_000);
  const event = JSON.stringify({ type: "log", line, printed: 4_000_000 });
  folder.write("stdout", "x".repeat(4_000_000));
  folder.write("events.jsonl", event.slice(0, 2_000_000));
  // Meanwhile it looks at the files.
  await new Promise((resolve) => setTimeout(resolve, 200));
  folder.write("events.jsonl", `${event}\n${DONE}`);
  ending.resolve({ code: 0 });
  const lines = (await following).flatMap((it) =>
    it.type === "log" ? [it.line.length] : []
  );
  assertEquals(lines.pop(), line.length);
  assertEquals(lines.reduce((sum, it) => sum + it, 0), 4_000_000);
  assert(lines.length > 1);
});

Deno.test("follow() stops a process whose files cannot be read", async () => {
  using folder = new TemporaryFolder();
  const ending = Promise.withResolvers<Ended>();
  const stop = () => {
    ending.resolve({ code: 143 });
    Deno.removeSync(folder.join("stderr"));
    return Promise.resolve();
  };
  // A folder where a file is expected.
  folder.write("stderr/file", "");
  Deno.removeSync(folder.join("stderr", "file"));
  await assertRejects(
    () => followed(folder.path, ending.promise, { stop }),
    Error,
    "Is a directory",
  );
});

Deno.test("follow() emits what a process prints between the events that surround it, as soon as it is written", async () => {
  using folder = new TemporaryFolder();
  const ending = Promise.withResolvers<Ended>();
  const following = followed(folder.path, ending.promise);
  const texts = ["first ", "second\n", "third\n"];
  using stdout = Deno.openSync(join(folder.path, "stdout"), {
    append: true,
    create: true,
  });
  using events = Deno.openSync(join(folder.path, "events.jsonl"), {
    append: true,
    create: true,
  });
  const encoder = new TextEncoder();
  let printed = 0;
  for (const text of texts) {
    printed += stdout.writeSync(encoder.encode(text));
    const event = { type: "log", line: `after ${text.trim()}`, printed };
    events.writeSync(encoder.encode(JSON.stringify(event) + "\n"));
  }
  events.writeSync(encoder.encode(DONE));
  ending.resolve({ code: 0 });
  assertEquals(
    (await following).flatMap((it) => it.type === "log" ? [it.line] : []),
    texts.flatMap((text) => [text.trim(), `after ${text.trim()}`])
      .map((line) => line === "first" ? "first " : line),
  );
});

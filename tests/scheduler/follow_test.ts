/** Ends and outputs of processes that come while the scheduler's thread is busy, as it is while it flushes large outputs. */
import { assertEquals } from "@std/assert";
import type {
  Ended,
  Execution,
} from "../../lib/scheduler/executors/executor.ts";
import { follow } from "../../lib/scheduler/process.ts";
import { isAlive } from "./project.ts";

/** Prefix of the lines that are events. */
const MARK = "\x1emark ";

const DONE = `${MARK}{"type":"done"}\n`;
const READY = `${MARK}{"type":"ready"}\n`;

/** Keeps the thread busy for some milliseconds, and until a condition holds. */
function beBusy(milliseconds: number, until = () => true): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end || !until());
}

/** Follows a process; resolves if it succeeds. */
async function followed(
  execution: Pick<Execution, "stdout" | "ended">,
  more: { timeout?: number; lastSeconds?: number; onReady?: () => void },
): Promise<void> {
  await follow({
    ...execution,
    stderr: ReadableStream.from([]),
    started: Promise.resolve(),
    stop: () => Promise.resolve(),
  }, {
    ...{ stage: "a", mark: MARK, emit() {}, onReady() {}, grace: 20 },
    timeout: undefined,
    signal: new AbortController().signal,
    ...more,
  });
}

for (
  const [limit, more] of [
    ["its timeout", { timeout: 0.5 }],
    ["the time to end after its task", { lastSeconds: 0.5 }],
  ] as const
) {
  Deno.test({
    name:
      `follow() takes the end of a process within ${limit}, however late the thread hears of it`,
    ignore: Deno.build.os !== "linux",
    fn: async () => {
      const process = new Deno.Command("sh", {
        args: ["-c", 'printf %s "$0"; sleep 0.2', `${DONE}${READY}`],
        stdout: "piped",
      }).spawn();
      await followed({
        stdout: process.stdout,
        ended: process.status.then(({ code }) => ({ code })),
      }, {
        ...more,
        onReady: () => beBusy(700, () => !isAlive(process.pid)),
      });
    },
  });
}

Deno.test("follow() reads what a process has written before its end, however late the thread gets to it", async () => {
  const ending = Promise.withResolvers<Ended>();
  let reads = 0;
  const stdout = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (++reads > 1) return controller.close();
      ending.resolve({ code: 0 });
      ending.promise.then(() => beBusy(700));
      // Arrives some turns of the event loop later.
      for (let turn = 0; turn < 3; turn++) await Deno.stat(".");
      controller.enqueue(new TextEncoder().encode(DONE));
    },
  }, { highWaterMark: 0 });
  await followed({ stdout, ended: ending.promise }, {});
  assertEquals(reads, 2);
});

Deno.test("follow() takes the end of a process in time although another program keeps its output open for longer", async () => {
  const ending = Promise.withResolvers<Ended>();
  let isCancelled = false;
  const stdout = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(DONE));
    },
    pull() {
      ending.resolve({ code: 0 });
      return new Promise(() => {});
    },
    cancel() {
      isCancelled = true;
    },
  }, { highWaterMark: 0 });
  const { promise: ended } = ending;
  await followed({ stdout, ended }, { lastSeconds: 0.2 });
  assertEquals(isCancelled, true);
});

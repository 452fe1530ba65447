import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Clock, liveTable } from "../../lib/cli/live.ts";
import { styleFor } from "../../lib/cli/messages.ts";
import {
  failed,
  finished,
  progress,
  START,
  started,
  SUMMARY,
} from "./sample_messages.ts";

const PLAIN = styleFor({ isTerminal: () => false });

/** A control sequence and its code, or a character. */
const SEQUENCE = new RegExp("\x1b\\[([?\\d]*[A-Za-z])|[^\x1b]", "g");

/** A terminal that records its screen. */
class FakeTerminal {
  readonly writes: string[] = [];
  readonly rows: string[] = [""];
  #row = 0;
  #column = 0;

  write(text: string): void {
    this.writes.push(text);
    for (const [part, code] of text.matchAll(SEQUENCE)) {
      if (code === undefined) this.#put(part);
      else if (code.endsWith("A")) this.#row -= Number(code.slice(0, -1));
      else if (code === "K") {
        this.rows[this.#row] = this.rows[this.#row]!.slice(0, this.#column);
      } else if (code === "J") this.rows.length = this.#row + 1;
    }
  }

  #put(character: string): void {
    if (character === "\r") this.#column = 0;
    else if (character === "\n") {
      this.#row++;
      this.#column = 0;
      this.rows[this.#row] ??= "";
    } else {
      const row = this.rows[this.#row]!.padEnd(this.#column);
      this.rows[this.#row] = row.slice(0, this.#column) + character +
        row.slice(this.#column + 1);
      this.#column++;
    }
  }

  size() {
    return { columns: 70, rows: 10 };
  }
}

/** A clock that moves when told to. */
class FakeClock implements Clock {
  #now = 0;
  #timers: { period: number; due: number; tick: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  every(period: number, tick: () => void): () => void {
    const timer = { period, due: this.#now + period, tick };
    this.#timers.push(timer);
    return () => this.#timers = this.#timers.filter((it) => it !== timer);
  }

  get timers(): number {
    return this.#timers.length;
  }

  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    for (;;) {
      const [next] = this.#timers.filter(({ due }) => due <= end)
        .sort((a, b) => a.due - b.due);
      if (next === undefined) break;
      this.#now = next.due;
      next.due += next.period;
      next.tick();
    }
    this.#now = end;
  }
}

Deno.test("liveTable() shows running stages below finished ones", () => {
  const terminal = new FakeTerminal();
  const clock = new FakeClock();
  const renderer = liveTable(terminal, PLAIN, clock);
  renderer.show(START);
  renderer.show(started("a"));
  clock.advance(500);
  renderer.show(started("b"));
  renderer.show(progress("a", 1));
  clock.advance(1500);
  assertEquals(terminal.rows, [
    "a: run - param lr 1 -> 2",
    "b: run - param lr 1 -> 2",
    "test  0/2 stages  2.0 s",
    "  a  ━━━━━━━━━━━━━━━━  25%  1/4 steps, loss 0.5, 6.0 s left",
    "  b  ━━━━━━━━━━━━━━━━       1.5 s",
    "",
  ]);

  renderer.show(finished("a"));
  renderer.show({ type: "log", stage: "b", line: "last words", stream: "log" });
  renderer.show(failed("b"));
  renderer.show(SUMMARY);
  renderer.end();
  assertEquals(terminal.rows, [
    "a: run - param lr 1 -> 2",
    "b: run - param lr 1 -> 2",
    "a: done in 2.0 s",
    "  | last words",
    "b: failed - Told to",
    "  log: b.jsonl",
    "2 stages: 1 ran, 1 failed, in 3.0 s",
    "",
  ]);
  assert(terminal.writes.at(-1)!.endsWith("\x1b[?25h"), "the cursor is shown");
  for (const write of terminal.writes.slice(0, -1)) {
    assert(
      write.startsWith("\x1b[?2026h") && write.endsWith("\x1b[?2026l"),
      write,
    );
  }
  assertEquals(clock.timers, 0);
});

Deno.test("liveTable() shows the progress of an installation until a stage starts", () => {
  const terminal = new FakeTerminal();
  const clock = new FakeClock();
  const renderer = liveTable(terminal, PLAIN, clock);
  const install = { type: "install", step: "download", subject: "it" } as const;
  renderer.show({ ...install, done: 1e6, total: 4e6 });
  clock.advance(100);
  assertMatch(
    terminal.rows[0]!,
    /━{16} {2}25% {2}download it, 1\.0 MB of 4\.0 MB$/,
  );
  renderer.show(START);
  renderer.show(started("a"));
  clock.advance(100);
  assert(!terminal.rows.some((row) => row.includes("download")));
  renderer.end();
});

Deno.test("liveTable() fits any width and height, and draws at most 10 frames per second", () => {
  const terminal = new FakeTerminal();
  const clock = new FakeClock();
  const renderer = liveTable(terminal, PLAIN, clock);
  renderer.show(START);
  for (let i = 0; i < 30; i++) {
    renderer.show(started(`stage-with-a-long-name@value,seed=${i}`));
  }
  for (let i = 0; i < 1000; i++) {
    renderer.show({
      type: "progress",
      stage: `stage-with-a-long-name@value,seed=${i % 30}`,
      done: i,
      total: 1000,
      unit: "examples of some length",
      note: "x".repeat(200),
    });
  }
  clock.advance(250);
  renderer.end();
  assert(terminal.writes.length < 10, `${terminal.writes.length} writes`);
  assert(terminal.rows.every((row) => row.length < 70));
});

Deno.test("liveTable() shows the job of a stage with its state and reason, and its progress while it runs", () => {
  const terminal = new FakeTerminal();
  const clock = new FakeClock();
  const renderer = liveTable(terminal, PLAIN, clock);
  const queued = { type: "queued", stage: "a", job: "12_3" } as const;
  renderer.show(START);
  renderer.show(started("a"));
  renderer.show({ ...queued, state: "PENDING", reason: "Resources" });
  clock.advance(5000);
  assertMatch(
    terminal.rows.join("\n"),
    /a .*job 12_3 PENDING \(Resources\), 5\.0 s/,
  );
  renderer.show({ ...queued, state: "RUNNING" });
  clock.advance(1000);
  assertMatch(terminal.rows.join("\n"), /a .*job 12_3 RUNNING, 1\.0 s/);
  renderer.show(progress("a", 2));
  clock.advance(1000);
  assertMatch(
    terminal.rows.join("\n"),
    /a .* 50% {2}job 12_3: 2\/4 steps, loss 0\.5/,
  );
  assertEquals(terminal.rows.filter((row) => row.includes("12_3")).length, 1);
  renderer.end();
});

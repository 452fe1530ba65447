import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Message } from "../../lib/cli/messages.ts";
import { plainLines } from "../../lib/cli/render/lines.ts";
import { liveTable } from "../../lib/cli/render/live.ts";
import { styleFor } from "../../lib/cli/render/style.ts";
import { bytes, duration, wrap } from "../../lib/cli/render/words.ts";

const PLAIN = styleFor({ isTerminal: () => false });

/** A control sequence and its code, or a character. */
const SEQUENCE = new RegExp("\x1b\\[([?\\d]*[A-Za-z])|[^\x1b]", "g");

/** A terminal that keeps what stands on its screen. */
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

const START: Message = { type: "start", pipeline: "test", stages: ["a", "b"] };
const started = (stage: string): Message => ({
  type: "started",
  stage,
  attempt: 1,
  reason: "param lr 1 -> 2",
});
const finished = (stage: string): Message => ({
  type: "finished",
  stage,
  outcome: "ran",
  seconds: 2,
  output: `out/test/${stage}`,
});
const SUMMARY: Message = {
  type: "summary",
  ran: 1,
  restored: 0,
  unchanged: 0,
  failed: 1,
  skipped: 0,
  seconds: 3,
};
const pause = (milliseconds: number) =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

Deno.test("liveTable() keeps running stages below what is over", async () => {
  const terminal = new FakeTerminal();
  const renderer = liveTable(terminal, PLAIN);
  renderer.show(START);
  renderer.show(started("a"));
  renderer.show(started("b"));
  renderer.show({
    type: "progress",
    stage: "a",
    done: 1,
    total: 4,
    unit: "steps",
    note: "loss 0.5",
  });
  await pause(150);
  assertEquals(terminal.rows.slice(0, 2), [
    "a: run - param lr 1 -> 2",
    "b: run - param lr 1 -> 2",
  ]);
  assertMatch(terminal.rows[2]!, /^test {2}0\/2 stages {2}0\.\d\d s$/);
  assertMatch(
    terminal.rows[3]!,
    /^ {2}a {2}━{16} {2}25% {2}1\/4 steps, loss 0\.5/,
  );
  assertMatch(terminal.rows[4]!, /^ {2}b {2}━{16} +0\.\d\d s$/);
  assertEquals(terminal.rows.length, 6);

  renderer.show(finished("a"));
  renderer.show({ type: "log", stage: "b", line: "last words", stream: "log" });
  renderer.show({
    type: "failed",
    stage: "b",
    attempt: 1,
    message: "Told to",
    log: "b.jsonl",
    retry: false,
  });
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
});

Deno.test("liveTable() fits any width and height, and draws no more than it must", async () => {
  const terminal = new FakeTerminal();
  const renderer = liveTable(terminal, PLAIN);
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
  await pause(250);
  renderer.end();
  assert(terminal.writes.length < 10, `${terminal.writes.length} writes`);
  assert(terminal.rows.every((row) => row.length < 70));
});

Deno.test("plainLines() says what is worth a line", () => {
  let text = "";
  const renderer = plainLines((it) => text += it, PLAIN);
  const messages: Message[] = [
    START,
    started("a"),
    { type: "log", stage: "a", line: "mine \x1b[2J", stream: "log" },
    { type: "log", stage: "a", line: "noise", stream: "stderr" },
    { type: "metric", stage: "a", name: "loss", value: 1 },
    { type: "progress", stage: "a", done: 1, total: 4, unit: "steps" },
    { type: "progress", stage: "a", done: 2, total: 4, unit: "steps" },
    finished("a"),
    started("b"),
    { type: "log", stage: "b", line: "why", stream: "stderr" },
    {
      type: "failed",
      stage: "b",
      attempt: 1,
      message: "Told to",
      log: "b.jsonl",
      retry: false,
    },
    SUMMARY,
  ];
  messages.forEach((it) => renderer.show(it));
  assertEquals(
    text,
    `a: run - param lr 1 -> 2
a | mine \ufffd[2J
a: done in 2.0 s
b: run - param lr 1 -> 2
  | why
b: failed - Told to
  log: b.jsonl
2 stages: 1 ran, 1 failed, in 3.0 s
`,
  );
});

Deno.test("styleFor() colours a terminal only, and not with NO_COLOR", () => {
  const before = Deno.env.get("NO_COLOR");
  try {
    Deno.env.delete("NO_COLOR");
    const terminal = { isTerminal: () => true };
    assertEquals(styleFor(terminal).red("x"), "\x1b[31mx\x1b[39m");
    assertEquals(PLAIN.red("x"), "x");
    Deno.env.set("NO_COLOR", "1");
    assertEquals(styleFor(terminal).red("x"), "x");
  } finally {
    if (before === undefined) Deno.env.delete("NO_COLOR");
    else Deno.env.set("NO_COLOR", before);
  }
});

Deno.test("duration() and bytes() are short and never say 60 s or 1000 MB", () => {
  assertEquals([0.041, 12.34, 59.96, 200, 7500].map(duration), [
    "0.04 s",
    "12.3 s",
    "1 min 0 s",
    "3 min 20 s",
    "2 h 5 min",
  ]);
  assertEquals([512, 999, 4_200_000, 999_950_000].map(bytes), [
    "512 B",
    "999 B",
    "4.2 MB",
    "1.0 GB",
  ]);
  assertEquals(wrap("one two three\nfour", 8), ["one two", "three", "four"]);
});

import { assert, assertEquals, assertMatch } from "@std/assert";
import { LiveTable } from "../../../lib/cli/terminal/live.ts";
import type { Message } from "../../../lib/cli/terminal/messages.ts";
import type { ExpectedStage } from "../../../lib/scheduler/events.ts";
import { withoutTerminal } from "../../environment.ts";
import { GoldenFile } from "../../golden.ts";
import {
  failed,
  finished,
  progress,
  START,
  started,
  SUMMARY,
} from "./sample_messages.ts";

const golden = new GoldenFile(new URL("live_golden.md", import.meta.url));

const { consoleSize } = Deno;
const { now } = performance;
const { setInterval, clearInterval } = globalThis;

withoutTerminal();

// What a FakeTerminal and a FakeClock replace.
Deno.test.afterEach(() => {
  Deno.consoleSize = consoleSize;
  performance.now = now;
  Object.assign(globalThis, { setInterval, clearInterval });
});

/** A control sequence and its code, or a character. */
const SEQUENCE = new RegExp("\x1b\\[([?\\d]*[A-Za-z])|[^\x1b]", "g");

/** A terminal that records its screen. */
class FakeTerminal {
  readonly writes: string[] = [];
  readonly rows: string[] = [""];
  #row = 0;
  #column = 0;
  #isCutting = false;

  write(text: string): void {
    this.writes.push(text);
    for (const [part, code] of text.matchAll(SEQUENCE)) {
      if (code === undefined) this.#put(part);
      else if (code.endsWith("A")) this.#row -= Number(code.slice(0, -1));
      else if (code === "K") {
        this.rows[this.#row] = this.rows[this.#row]!.slice(0, this.#column);
      } else if (code === "J") this.rows.length = this.#row + 1;
      else if (/^\?7[hl]$/.test(code)) this.#isCutting = code === "?7l";
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
      const before = row.slice(0, this.#column) + character;
      const columns = before.replaceAll(/[正面评论]/g, "  ").length;
      // What is cut is in the last column, and erased with the rest of the
      // line.
      if (this.#isCutting && columns >= (this.columns || 80)) return;
      this.rows[this.#row] = row.slice(0, this.#column) + character +
        row.slice(this.#column + 1);
      this.#column++;
    }
  }

  constructor(readonly columns = 70, height = 10) {
    Deno.consoleSize = () => ({ columns, rows: height });
  }
}

/** The clock of this process, which moves when told to. */
class FakeClock {
  #now = 0;
  #timers: { period: number; due: number; tick: () => void }[] = [];

  constructor() {
    performance.now = () => this.#now;
    Object.assign(globalThis, {
      setInterval: (tick: () => void, period: number) => {
        const timer = { period, due: this.#now + period, tick };
        this.#timers.push(timer);
        return timer;
      },
      clearInterval: (timer: unknown) =>
        this.#timers = this.#timers.filter((it) => it !== timer),
    });
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

/** A live table on a terminal of some width and height. */
function liveTable(...size: readonly [columns?: number, height?: number]) {
  const terminal = new FakeTerminal(...size);
  const clock = new FakeClock();
  const renderer = new LiveTable((text) => terminal.write(text));
  return { terminal, clock, renderer };
}

/** What a run of two stages expects of some of them. */
function expected(
  ...stages: readonly (Partial<ExpectedStage> & { readonly stage: string })[]
): Message {
  const usual = { needs: [], cpus: 1, gpus: 0 };
  return {
    type: "expected",
    stages: stages.map((it) => ({ ...usual, ...it })),
    cpus: 2,
    gpus: 0,
    jobs: 2,
  };
}

Deno.test("LiveTable shows running stages below finished ones", () => {
  const { terminal, clock, renderer } = liveTable();
  renderer.show(START);
  renderer.show(started("a"));
  clock.advance(500);
  renderer.show(started("b"));
  renderer.show(progress("a", 1));
  clock.advance(1500);
  golden.check("running stages", terminal.rows.join("\n"));

  renderer.show(finished("a"));
  renderer.show({ type: "log", stage: "b", line: "last words", stream: "log" });
  renderer.show(failed("b"));
  renderer.show(SUMMARY);
  renderer.end();
  golden.check("the end of a run", terminal.rows.join("\n"));
  assert(terminal.writes.at(-1)!.endsWith("\x1b[?25h"), "the cursor is shown");
  for (const write of terminal.writes.slice(0, -1)) {
    assert(
      write.startsWith("\x1b[?2026h") && write.endsWith("\x1b[?2026l"),
      write,
    );
  }
  assertEquals(clock.timers, 0);
});

Deno.test("LiveTable shows what a stage logs without progress, in its row and below its end", () => {
  const { terminal, clock, renderer } = liveTable();
  const log = (stage: string, line: string) =>
    renderer.show({ type: "log", stage, line, stream: "log" });
  renderer.show(START);
  renderer.show(started("a"));
  renderer.show(started("b"));
  log("a", "Fetching it with pip");
  renderer.show(progress("b", 9));
  for (let step = 1; step <= 9; step++) log("b", `step ${step}`);
  renderer.show({ type: "log", stage: "a", line: "noise", stream: "stderr" });
  clock.advance(1000);
  assertEquals(
    terminal.rows[1],
    "  a  ━━━━━━━━━━   0%  1.0 s        Fetching it with pip",
  );
  const warnings = ["1", "2", "3"].map((it) => `the class ${it} may be a typo`);
  for (const line of ["train: 540 examples", ...warnings]) log("a", line);
  renderer.show(finished("a"));
  renderer.show(finished("b"));
  renderer.end();
  golden.check("what stages logged", terminal.rows.join("\n"));
});

Deno.test("LiveTable wraps errors, notes and the summary at words, but not the command that shows a log", () => {
  const { terminal, renderer } = liveTable(30);
  renderer.show(START);
  renderer.show({ type: "note", text: "a note of more than thirty letters" });
  renderer.show(started("a"));
  renderer.show({
    ...failed("a"),
    message: "a message of more than thirty letters",
    log: "deno task logs pipeline stage -S train=a.csv",
  } as Message);
  renderer.show({ ...SUMMARY, savedSeconds: 90 } as Message);
  renderer.end();
  golden.check("a narrow terminal", terminal.rows.join("\n"));
});

Deno.test("LiveTable shows the answer, which comes after the summary", () => {
  const { terminal, renderer } = liveTable();
  renderer.show(START);
  renderer.show(started("a"));
  renderer.show(finished("a"));
  renderer.show(SUMMARY);
  renderer.show({
    type: "answer",
    findings: [],
    faults: [],
    reports: ["out/test/report.html"],
    adapters: [],
    python: [],
  });
  renderer.end();
  golden.check("the answer", terminal.rows.slice(-4).join("\n"));
});

Deno.test("LiveTable shows the progress of an installation until a stage starts", () => {
  const { terminal, clock, renderer } = liveTable();
  const install = { type: "install", step: "download", subject: "it" } as const;
  renderer.show({ ...install, done: 1e6, total: 4e6 });
  clock.advance(100);
  assertMatch(
    terminal.rows[0]!,
    /━{10} {2}25% {2}download it, 1\.0 MB of 4\.0 MB$/,
  );
  renderer.show(START);
  renderer.show(started("a"));
  clock.advance(100);
  assert(!terminal.rows.some((row) => row.includes("download")));
  renderer.end();
});

Deno.test("LiveTable fits any width and height, and draws at most 10 frames per second", () => {
  const { terminal, clock, renderer } = liveTable();
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

Deno.test("LiveTable fits rows with wide characters, tabs and line breaks", () => {
  const { terminal, clock, renderer } = liveTable();
  const stages = ["a@评论", "b", "c"];
  renderer.show({ type: "start", pipeline: "test", stages });
  for (const stage of stages) renderer.show(started(stage));
  const [wide, line] = ["正面👍".repeat(20), "1\tb\t2\tc"];
  const log = { type: "log", stage: stages[0]!, stream: "log" } as const;
  renderer.show({ ...log, line: wide });
  renderer.show({ ...log, line, stage: "b" });
  renderer.show({
    type: "progress",
    stage: "c",
    done: 1,
    total: 4,
    unit: "steps",
    note: "a\nb",
  });
  clock.advance(1000);
  const [, first, second, third, ...rest] = terminal.rows;
  assertEquals(rest, [""]);
  const columns = [...first!].map((it) => /[正面👍评论]/u.test(it) ? 2 : 1)
    .reduce((sum, it) => sum + it, 0);
  assert(columns === 68 || columns === 69, `${columns} columns`);
  assertMatch(second!, / 1 b 2 c$/);
  assertMatch(third!, /, a b$/);
  renderer.end();
});

Deno.test("LiveTable takes a terminal that reports 0 columns and rows for one of unknown size", () => {
  const { terminal, clock, renderer } = liveTable(0, 0);
  renderer.show(START);
  renderer.show(started("a"));
  clock.advance(1000);
  assertMatch(terminal.rows[0]!, /stages {2}1\.0 s$/);
  assertMatch(terminal.rows[1]!, /^ {2}a {2}━+ {3}0% {2}1\.0 s$/);
  renderer.end();
});

Deno.test("LiveTable shows the job of a stage with its state and reason, and its progress while it runs", () => {
  const { terminal, clock, renderer } = liveTable();
  const queued = { type: "queued", stage: "a", job: "12_3" } as const;
  renderer.show(START);
  renderer.show(started("a"));
  renderer.show({ ...queued, state: "PENDING", reason: "Resources" });
  clock.advance(5000);
  assertMatch(
    terminal.rows.join("\n"),
    /a .* 5\.0 s +job 12_3 PENDING \(Resources\)/,
  );
  renderer.show({ ...queued, state: "RUNNING" });
  clock.advance(1000);
  assertMatch(terminal.rows.join("\n"), /a .* 1\.0 s +job 12_3 RUNNING/);
  renderer.show(progress("a", 2));
  clock.advance(1000);
  assertMatch(
    terminal.rows.join("\n"),
    /a .* 50% {2}2\.0 s +job 12_3: 2\/4 steps, loss 0\.5/,
  );
  renderer.show({ ...queued, state: "PENDING", reason: "BeginTime" });
  clock.advance(1000);
  assertMatch(terminal.rows.join("\n"), /a .* 0% .* job 12_3 PENDING/);
  renderer.show(progress("a", 1));
  renderer.show({ ...queued, state: "RUNNING" });
  clock.advance(1000);
  assertMatch(
    terminal.rows.join("\n"),
    /a .* 25% {2}1\.0 s +job 12_3: 1\/4 steps/,
    "progress that came before the state is shown",
  );
  assertEquals(terminal.rows.filter((row) => row.includes("12_3")).length, 1);
  renderer.end();
});

Deno.test("LiveTable tells the time that is left of a stage by its steps and by an earlier run, and of the whole", () => {
  const { terminal, clock, renderer } = liveTable(100);
  renderer.show(START);
  renderer.show(expected(
    { stage: "a", seconds: 100 },
    { stage: "b", needs: ["a"], seconds: 50 },
  ));
  renderer.show(started("a"));
  clock.advance(20_000);
  assertEquals(terminal.rows.slice(0, 2), [
    "test  0/2 stages  20.0 s, 130 s left".replace("130 s", "2 min"),
    `  a  ${"━".repeat(10)}   0%  80 s left`,
  ]);
  const steps = { stage: "a", total: 100, unit: "steps" };
  const step = (done: number, note: string) =>
    renderer.show({ ...steps, type: "progress", done, note });
  renderer.show({ ...steps, type: "progress", done: 0 });
  step(0, "compiling length 32");
  clock.advance(10_000);
  assertMatch(terminal.rows[1]!, / {2}70 s left +compiling length 32$/);
  step(1, "loss 0.5");
  // Two steps a second: the 10 s of compiling are none of theirs.
  for (let done = 2; done <= 20; done++) {
    clock.advance(500);
    step(done, "loss 0.5");
  }
  clock.advance(100);
  assertMatch(
    terminal.rows[1]!,
    / 20% {2}40 s left +20\/100 steps, loss 0\.5$/,
  );
  // 40 s of a, then 50 s of b.
  assertMatch(terminal.rows[0]!, /, (90 s|2 min) left$/);
  renderer.end();
});

Deno.test("LiveTable says that a run takes at least so long if nothing is known about some stages", () => {
  const { terminal, clock, renderer } = liveTable(100);
  renderer.show(START);
  renderer.show(expected({ stage: "a", seconds: 30 }, { stage: "b" }));
  renderer.show(started("a"));
  clock.advance(10_000);
  assertEquals(terminal.rows[0], "test  0/2 stages  10.0 s, over 20 s left");
  renderer.end();
});

Deno.test("LiveTable counts the stages for which there is no row", () => {
  const { terminal, clock, renderer } = liveTable(80, 6);
  renderer.show(START);
  for (let i = 0; i < 9; i++) renderer.show(started(`stage@seed=${i}`));
  clock.advance(100);
  assertEquals(terminal.rows.length, 6);
  assertMatch(terminal.rows[3]!, /^ {2}stage@seed=2 /);
  assertEquals(terminal.rows[4], "  and 6 more");
  renderer.end();
});

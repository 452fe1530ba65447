import { assertEquals } from "@std/assert";
import type { Message } from "../../../lib/cli/terminal/messages.ts";
import { csvLine, plainLines } from "../../../lib/cli/terminal/renderer.ts";
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

const golden = new GoldenFile(new URL("renderer_golden.md", import.meta.url));

withoutTerminal();

Deno.test("plainLines() prints what starts and ends, and standard error only after a failure", () => {
  let text = "";
  const renderer = plainLines((it) => text += it);
  const messages: Message[] = [
    START,
    started("a"),
    { type: "log", stage: "a", line: "mine \x1b[2J", stream: "log" },
    { type: "log", stage: "a", line: "noise", stream: "stderr" },
    { type: "metric", stage: "a", name: "loss", value: 1 },
    progress("a", 1),
    progress("a", 2),
    finished("a"),
    started("b"),
    { type: "log", stage: "b", line: "why", stream: "stderr" },
    failed("b"),
    SUMMARY,
  ];
  messages.forEach((it) => renderer.show(it));
  golden.check("starts, ends and standard error", text);
});

Deno.test("plainLines() prints the progress of a stage and of an installation every 10 s", () => {
  let text = "";
  let now = 0;
  const renderer = plainLines((it) => text += it, () => now);
  const install = { type: "install", step: "download", subject: "it" } as const;
  // pip has received nothing for a while.
  renderer.show({ ...install, done: 0, total: 4e6 });
  for (let done = 0; done <= 4; done++, now += 6_000) {
    renderer.show(progress("a", done));
    renderer.show({ ...install, done: done * 1e6, total: 4e6 });
  }
  golden.check("progress every 10 s", text);
});

Deno.test("plainLines() prints no progress of a stage that has just logged a line", () => {
  let text = "";
  let now = 0;
  const renderer = plainLines((it) => text += it, () => now);
  for (let done = 0; done <= 4; done++, now += 6_000) {
    const line = `step ${done}`;
    if (done % 2 === 0) {
      renderer.show({ type: "log", stage: "a", line, stream: "stdout" });
    }
    renderer.show(progress("a", done));
  }
  assertEquals(text, "a | step 0\na | step 2\na | step 4\n");
});

Deno.test("plainLines() prints no further lines of a stage that says itself what is wrong", () => {
  let text = "";
  const renderer = plainLines((it) => text += it);
  renderer.show({ type: "log", stage: "a", line: "noise", stream: "stderr" });
  renderer.show({ type: "log", stage: "a", line: "at x.ts", stream: "stack" });
  renderer.show({ ...failed("a"), code: "reported" } as Message);
  assertEquals(text, "a: failed - Told to\n  log: a.jsonl\n");
});

Deno.test("plainLines() says what an interrupted run has saved", () => {
  let text = "";
  const renderer = plainLines((it) => text += it);
  const interrupted = { type: "interrupted", log: "a.jsonl" } as const;
  renderer.show({ ...interrupted, stage: "a", checkpoint: "step 175" });
  renderer.show({ ...interrupted, stage: "b" });
  renderer.show({
    type: "finished",
    stage: "c",
    outcome: "skipped",
    seconds: 0,
    output: "",
    note: "interrupted",
  });
  renderer.show({
    ...SUMMARY,
    ran: 0,
    failed: 0,
    interrupted: 2,
    skipped: 1,
  } as Message);
  golden.check("an interrupted run", text);
});

Deno.test("plainLines() says what the cache saved", () => {
  let text = "";
  const renderer = plainLines((it) => text += it);
  const nothing = { ...SUMMARY, ran: 0, failed: 0, unchanged: 12 };
  renderer.show({ ...nothing, seconds: 0.05, savedSeconds: 754 } as Message);
  renderer.show({ ...nothing, ran: 1, savedSeconds: 0.9 } as Message);
  golden.check("what the cache saved", text);
});

Deno.test("csvLine() writes no cell that a spreadsheet takes for a formula, and numbers as they are", () => {
  assertEquals(
    csvLine([
      "=1+1",
      "@SUM(A1)",
      "+a",
      "-2+cmd|' /C calc'!A0",
      '=HYPERLINK("x")',
    ]),
    `'=1+1,'@SUM(A1),'+a,'-2+cmd|' /C calc'!A0,"'=HYPERLINK(""x"")"`,
  );
  const plain = ["-1.5e-3", "+2", "-", "-0.9 [-2.4, +0.7]", "a=b", ""];
  assertEquals(csvLine(plain), '-1.5e-3,+2,-,"-0.9 [-2.4, +0.7]",a=b,');
});

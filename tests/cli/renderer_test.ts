import { assertEquals } from "@std/assert";
import { type Message, styleFor } from "../../lib/cli/messages.ts";
import { plainLines } from "../../lib/cli/renderer.ts";
import {
  failed,
  finished,
  progress,
  START,
  started,
  SUMMARY,
} from "./sample_messages.ts";

const PLAIN = styleFor({ isTerminal: () => false });

Deno.test("plainLines() prints what starts and ends, and standard error only after a failure", () => {
  let text = "";
  const renderer = plainLines((it) => text += it, PLAIN);
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

Deno.test("plainLines() prints the progress of a stage and of an installation every 10 s", () => {
  let text = "";
  let now = 0;
  const renderer = plainLines((it) => text += it, PLAIN, () => now);
  const install = { type: "install", step: "download", subject: "it" } as const;
  for (let done = 0; done <= 4; done++, now += 6_000) {
    renderer.show(progress("a", done));
    renderer.show({ ...install, done: done * 1e6, total: 4e6 });
  }
  assertEquals(
    text,
    `engine: download it (4.0 MB)
a: 2/4 steps, loss 0.5
engine: download it: 75%
a: 4/4 steps, loss 0.5
`,
  );
});

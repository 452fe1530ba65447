import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  bytes,
  duration,
  messageLine,
  Transcript,
} from "../../../lib/cli/terminal/messages.ts";
import { style } from "../../../lib/cli/terminal/style.ts";
import {
  setEnvironment,
  setTerminal,
  withoutTerminal,
} from "../../environment.ts";
import { failed } from "./sample_messages.ts";

withoutTerminal();

Deno.test("style colors text in a terminal only, and not with NO_COLOR", () => {
  using _env = setEnvironment({ NO_COLOR: undefined });
  assertEquals(style.red("x"), "x");
  using _terminal = setTerminal(true);
  assertEquals(style.red("x"), "\x1b[31mx\x1b[39m");
  using _plain = setEnvironment({ NO_COLOR: "1" });
  assertEquals(style.red("x"), "x");
});

Deno.test("messageLine() says whether a failed stage is tried again", () => {
  assertEquals(
    messageLine(failed("a")),
    "a: failed - Told to\n  log: a.jsonl",
  );
  const retried = { ...failed("a"), retry: true } as ReturnType<typeof failed>;
  assertEquals(
    messageLine(retried),
    "a: failed - Told to; retrying after 1 attempt",
  );
  assertEquals(
    messageLine(
      { type: "started", stage: "a", attempt: 2, reason: "it failed" },
    ),
    "a: attempt 2 - it failed",
  );
});

Deno.test("messageLine() says where files of the user were moved", () => {
  const folder = "out/p/_kept/a/1";
  assertEquals(
    messageLine({ type: "kept", stage: "a", files: 2, folder }),
    'a: moved 2 files of yours from its output folder to "out/p/_kept/a/1"',
  );
});

Deno.test("duration() and bytes() never print 60 s or 1000 MB", () => {
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
});

Deno.test("a message of megabytes is shown shortened, with the place of the log", () => {
  const message = { ...failed("a"), message: `Wrong: ${"x".repeat(3e6)}` };
  const [line, log] = messageLine(message as ReturnType<typeof failed>)!
    .split("\n");
  assertMatch(
    line!,
    /^a: failed - Wrong: x+\.\.\. \(3\.0 MB more are in the log\)$/,
  );
  assert(line!.length < 5000, `${line!.length}`);
  assertEquals(log, "  log: a.jsonl");

  const transcript = new Transcript();
  const stage = "a";
  const output = "y".repeat(3e6);
  transcript.keep({ type: "log", stage, line: output, stream: "stderr" });
  const shown = transcript.update(failed(stage)).join("\n");
  assertMatch(shown, /y\.\.\. \(3\.0 MB more are in the log\)/);
  assert(shown.length < 5000, `${shown.length}`);
});

import { assertEquals } from "@std/assert";
import {
  bytes,
  duration,
  messageLine,
  styleFor,
} from "../../../lib/cli/terminal/messages.ts";
import { failed } from "./sample_messages.ts";

const PLAIN = styleFor({ isTerminal: () => false });

Deno.test("styleFor() colors text in a terminal only, and not with NO_COLOR", () => {
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

Deno.test("messageLine() says whether a failed stage is tried again", () => {
  assertEquals(
    messageLine(failed("a"), PLAIN),
    "a: failed - Told to\n  log: a.jsonl",
  );
  const retried = { ...failed("a"), retry: true } as ReturnType<typeof failed>;
  assertEquals(
    messageLine(retried, PLAIN),
    "a: failed - Told to; retrying after 1 attempt",
  );
  assertEquals(
    messageLine(
      { type: "started", stage: "a", attempt: 2, reason: "it failed" },
      PLAIN,
    ),
    "a: attempt 2 - it failed",
  );
});

Deno.test("messageLine() says where files of the user were moved", () => {
  const folder = "out/p/_kept/a/1";
  assertEquals(
    messageLine({ type: "kept", stage: "a", files: 2, folder }, PLAIN),
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

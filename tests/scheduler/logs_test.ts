import { assert, assertEquals, assertMatch } from "@std/assert";
import { openLog, readLog } from "../../lib/scheduler/logs.ts";
import { TemporaryFolder } from "../store/temporary_folder.ts";

Deno.test("openLog() keeps the start and the end of a long log, and says how much is left out", async () => {
  using folder = new TemporaryFolder();
  const path = folder.join("log.jsonl");
  const count = 400_000;
  {
    using log = openLog(path);
    for (let i = 0; i < count; i++) {
      const line = `line ${i} ${".".repeat(60)}`;
      log.write({ type: "log", stage: "loud", line, stream: "stdout" });
    }
    log.end();
  }
  assert(Deno.statSync(path).size < 10e6, "of more than 40 MB");
  const lines: string[] = [];
  for await (const event of readLog({ from: "failed", path }, false)) {
    if (event.type === "log") lines.push(event.line);
  }
  const isMark = (line: string) => line.startsWith("... ");
  const [mark] = lines.filter(isMark);
  const dropped = Number(/\d+/.exec(mark!)?.[0]);
  assertMatch(mark!, /^\.\.\. \d+ lines are left out here/);
  const kept = lines.filter((line) => !isMark(line))
    .map((line) => Number(/\d+/.exec(line)![0]));
  const before = lines.findIndex(isMark);
  assertEquals(
    kept,
    Array.from(
      { length: count - dropped },
      (_, i) => i < before ? i : i + dropped,
    ),
  );
  assert(before > 60_000, "8 MB of the start");
  assert(kept.length - before > 7_000, "1 MB of the end");
});

Deno.test("openLog() writes the events of a short log at once", () => {
  using folder = new TemporaryFolder();
  const path = folder.join("log.jsonl");
  using log = openLog(path);
  log.write({ type: "log", stage: "a", line: "now", stream: "log" });
  const text = Deno.readTextFileSync(path);
  assertMatch(text, /"line":"now"/);
  log.end();
  assertEquals(Deno.readTextFileSync(path), text);
});

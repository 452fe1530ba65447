import { assertEquals, assertThrows } from "@std/assert";
import { signal } from "../../../lib/scheduler/executors/local.ts";

Deno.test("signal() takes a process that has just ended, at which ChildProcess.kill() throws", async () => {
  const child = new Deno.Command("sleep", { args: ["60"] }).spawn();
  assertEquals(signal(child.pid, "SIGINT"), true);
  assertEquals((await child.status).signal, "SIGINT");
  assertEquals(signal(child.pid, "SIGINT"), false);
  assertThrows(() => child.kill("SIGINT"), TypeError, "already terminated");
});

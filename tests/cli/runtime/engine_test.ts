import { assertEquals, assertMatch } from "@std/assert";
import { Arguments } from "../../../lib/cli/arguments/arguments.ts";
import { selectedEngine } from "../../../lib/cli/runtime/engine.ts";

Deno.test("selectedEngine() selects the CPU with --gpus none, and says why", async () => {
  const reasons: string[] = [];
  const args = new Arguments([], new Map([["gpus", ["none"]]]));
  const engine = await selectedEngine(args, {
    say(message) {
      if (message.type === "engine") reasons.push(message.reason);
    },
  })();
  assertEquals(engine.gpus, 0);
  assertEquals(engine.settings.device, "cpu");
  assertMatch(reasons[0]!, /hides every GPU/);
});

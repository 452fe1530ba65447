import { assertMatch } from "@std/assert";
import { faultsOf, withTasks } from "./fake_tasks.ts";

const beyond: Readonly<Record<string, { text: string; fault: RegExp }>> = {
  "a list that contains itself": {
    text: "name: test\nparams: { a: &a [*a] }\nstages: {}",
    fault: /too many levels, or a value that contains itself$/,
  },
  "more levels than the reader has room for": {
    text: `name: test\nparams: { a: ${"[".repeat(50_000)} }\nstages: {}`,
    fault: /too many levels, or a value that contains itself$/,
  },
};

for (const [what, { text, fault }] of Object.entries(beyond)) {
  Deno.test(`expandPipeline() refuses ${what}`, () =>
    withTasks(async (tasks) => {
      const faults = await faultsOf(tasks, text);
      assertMatch(faults.join("\n"), new RegExp(fault, "m"));
    }));
}

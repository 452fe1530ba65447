import { assertEquals, assertMatch } from "@std/assert";
import { faultsOf, withTasks } from "./fake_tasks.ts";

const range = (length: number) =>
  Array.from({ length }, (_, index) => index).join(", ");

const beyond: Readonly<Record<string, { text: string; fault: RegExp }>> = {
  "more values than the limit, with aliases expanded": {
    text: `name: test
params:
  a0: &a0 [x, x, x, x, x, x, x, x, x, x]
${
      Array.from(
        { length: 9 },
        (_, i) =>
          `  a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(", ")}]`,
      ).join("\n")
    }
stages: {}`,
    fault: /^The file has more than 100000 values with its aliases expanded/,
  },
  "a list that contains itself": {
    text: "name: test\nparams: { a: &a [*a] }\nstages: {}",
    fault: /or more than 100 levels$/,
  },
  "more levels than the reader has room for": {
    text: `name: test\nparams: { a: ${"[".repeat(50_000)} }\nstages: {}`,
    fault: /or more than 100 levels$/,
  },
  "more stages than the limit in one matrix": {
    text: `name: test
stages:
  data:
    task: fetch
    with: { source: x }
    matrix: { a: [${range(200)}], b: [${range(200)}], c: [${range(200)}] }`,
    fault: /The pipeline has more than 10000 stages/,
  },
  "more stages than the limit in all": {
    text: "name: test\nstages:\n" + Array.from(
      { length: 20 },
      (_, i) =>
        `  data${i}: { task: fetch, with: { source: x }, matrix: { a: [${
          range(1000)
        }] } }\n`,
    ).join(""),
    fault: /The pipeline has more than 10000 stages/,
  },
  "more bytes of unknown keys than a screen holds": {
    text: `name: test\nstages: {}\n${
      Array.from({ length: 2_000 }, (_, i) => `k${i}: ${i}\n`).join("")
    }`,
    fault: /Unknown key "k0" of the pipeline/,
  },
};

for (const [what, { text, fault }] of Object.entries(beyond)) {
  Deno.test(`expandPipeline() refuses ${what}`, () =>
    withTasks(async (tasks) => {
      const faults = await faultsOf(tasks, text);
      assertMatch(faults.join("\n"), new RegExp(fault, "m"));
      assertEquals(faults.length <= 51, true);
    }));
}

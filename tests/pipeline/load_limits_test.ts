import { assert } from "@std/assert";
import { cpuUsage } from "node:process";
import { faultsOf, withTasks } from "./fake_tasks.ts";

const range = (length: number) =>
  Array.from({ length }, (_, index) => index).join(", ");

/** Files of a few kilobytes that stand for far more than any machine holds. */
const bombs: Readonly<Record<string, { text: string; fault: RegExp }>> = {
  "aliases": {
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
    fault: /The file has more than 100000 values with its aliases expanded/,
  },
  "a matrix": {
    text: `name: test
stages:
  data:
    task: fetch
    with: { source: x }
    matrix: { a: [${range(200)}], b: [${range(200)}], c: [${range(200)}] }`,
    fault: /The pipeline has more than 10000 stages/,
  },
  "matrices": {
    text: "name: test\nstages:\n" + Array.from(
      { length: 20 },
      (_, i) =>
        `  data${i}: { task: fetch, with: { source: x }, matrix: { a: [${
          range(1000)
        }] } }\n`,
    ).join(""),
    fault: /The pipeline has more than 10000 stages/,
  },
  "edges": {
    text: `name: test
stages:
  data: { task: fetch, with: { source: x } }
  train: { task: train, matrix: { a: [${
      range(2000)
    }] }, inputs: { data: data } }
  report: { task: report, matrix: { a: [${
      range(2000)
    }] }, inputs: { models: train[*] } }`,
    fault: /The pipeline has more than 1000000 edges/,
  },
  "parameters of many stages": {
    text: `name: test
params: { long: "${"x".repeat(20_000)}" }
stages:
  data: { task: fetch, with: { source: "\${params.long}" }, matrix: { a: [${
      range(2000)
    }] } }`,
    fault:
      /The parameters of all stages have more than 16000000 values and characters/,
  },
  "a text of references": {
    text: `name: test
params: { long: "${"x".repeat(20_000)}" }
stages:
  data: { task: fetch, with: { source: "${"${params.long}".repeat(1000)}" } }`,
    fault:
      /The text has more than 65536 characters with its references resolved/,
  },
  "nested lists": {
    text: `name: test\nparams: { a: ${"[".repeat(50_000)}${
      "]".repeat(50_000)
    } }\nstages: {}`,
    fault: /nested too deeply/i,
  },
  "many keys": {
    text: `name: test\nstages: {}\n${
      Array.from({ length: 20_000 }, (_, i) => `k${i}: ${i}\n`).join("")
    }`,
    fault: /Unknown key "k0" of the pipeline/,
  },
};

for (const [what, { text, fault }] of Object.entries(bombs)) {
  Deno.test(`expandPipeline() refuses a bomb of ${what} within 3 seconds`, () =>
    withTasks(async (tasks) => {
      // Of the processor, so that a busy machine does not count.
      const start = cpuUsage();
      const faults = await faultsOf(tasks, text);
      const { user, system } = cpuUsage(start);
      const seconds = (user + system) / 1e6;
      assert(
        faults.some((it) => fault.test(it)),
        faults.slice(0, 3).join("\n"),
      );
      assert(seconds < 3, `${seconds} s`);
    }));
}

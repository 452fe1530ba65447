import { assert, assertEquals, assertRejects } from "@std/assert";
import { BusyError } from "../../lib/scheduler/failure.ts";
import type { Limits } from "../../lib/scheduler/settings.ts";
import { type Claim, Slots } from "../../lib/scheduler/limits.ts";
import { TestProject } from "./project.ts";
import {
  firstLine,
  holdTask,
  meet,
  overlap,
  spans,
  spansOf,
} from "./span_tasks.ts";

const LIMITS: Limits = { jobs: 3, cpus: 4, memory: 100, gpus: ["0", "1"] };
const NEVER = new AbortController().signal;

function claim(more: Partial<Claim> = {}): Claim {
  return { cpus: 1, memory: 0, gpus: 0, ...more };
}

/**
 * Takes claims one after another; returns those that were admitted immediately.
 */
async function admitted(claims: readonly Claim[]): Promise<number[]> {
  const slots = new Slots(LIMITS);
  const held: number[] = [];
  claims.forEach((each, i) =>
    void slots.take(each, NEVER).then(() => held.push(i))
  );
  await new Promise((resolve) => setTimeout(resolve, 0));
  return held;
}

Deno.test("Slots.take() admits claims that fit jobs, processors, memory, GPUs and mutexes", async () => {
  const cases: [string, Claim[], number[]][] = [
    ["jobs", [claim(), claim(), claim(), claim()], [0, 1, 2]],
    ["processors", [claim({ cpus: 3 }), claim({ cpus: 2 }), claim()], [0, 2]],
    ["memory", [claim({ memory: 60 }), claim({ memory: 50 })], [0]],
    ["GPUs", [claim({ gpus: 2 }), claim({ gpus: 1 }), claim()], [0, 2]],
    ["mutex", [
      claim({ mutex: "m" }),
      claim({ mutex: "m" }),
      claim({ mutex: "n" }),
    ], [0, 2]],
    ["more than there is", [claim({ cpus: 99, memory: 1e12 }), claim()], [0]],
  ];
  for (const [name, claims, expected] of cases) {
    assertEquals(await admitted(claims), expected, name);
  }
});

Deno.test("Slots.take() admits a waiting claim when another is released", async () => {
  const slots = new Slots({ ...LIMITS, jobs: 1 });
  const first = await slots.take(claim(), NEVER);
  const second = slots.take(claim(), NEVER);
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
});

Deno.test("Slots.take() rejects when aborted", async () => {
  const slots = new Slots({ ...LIMITS, jobs: 1 });
  using _first = await slots.take(claim(), NEVER);
  const interrupt = new AbortController();
  const second = slots.take(claim(), interrupt.signal);
  interrupt.abort(new Error("Enough"));
  await assertRejects(() => second, Error, "Enough");
});

Deno.test("run() runs stages in parallel, but one at a time when they have the same mutex", async () => {
  using project = new TestProject();
  const meeting = await project.run(meet(project));
  assertEquals(meeting.summary.ran, 2);
  await project.run(spans(project, { mutex: "m" }), {
    force: new Set(["s0", "s1"]),
  });
  assertEquals(overlap(spansOf(project)), false);
});

Deno.test("run() names the process that holds a mutex, and throws BusyError when wait is false", async () => {
  using project = new TestProject();
  const letGo = holdTask(project);
  project.task("quick", "return params.n;");
  const first = project.spawn({ hold: { task: "hold", mutex: "disk" } });
  await first.event(({ type }) => type === "started");
  const stages = {
    a: { task: "quick", params: { n: 1 }, mutex: "disk" },
    other: { task: "quick", params: { n: 2 }, mutex: "another" },
  };
  const holder = `process ${first.process.pid}`;
  assertEquals(
    (await assertRejects(() => project.run(stages, { wait: false }), BusyError))
      .message,
    `"a" would have to wait for ${holder}, which holds the mutex "disk"`,
  );
  assertEquals(project.read("out/test/other/out.txt"), "2");

  const second = project.spawn(stages);
  const said = await firstLine(second);
  assertEquals(said, `a: Waiting for ${holder}, which holds the mutex "disk"`);
  letGo();
  await first.end();
  const summary = await second.end();
  assert(summary?.type === "summary");
  assertEquals([summary.ran, summary.unchanged], [1, 1]);
});

Deno.test("run() lets its own stages take turns with a mutex, even when wait is false", async () => {
  using project = new TestProject();
  const stages = spans(project, { mutex: "m" });
  const { summary } = await project.run(stages, { wait: false });
  assertEquals(summary.ran, 2);
});

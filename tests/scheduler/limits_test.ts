import assert from "node:assert/strict";
import type { Limits } from "../../lib/scheduler/settings.ts";
import { type Claim, Slots } from "../../lib/scheduler/limits.ts";
import { type StageOptions, TestProject } from "./project.ts";

const LIMITS: Limits = { jobs: 3, cpus: 4, memory: 100, gpus: ["0", "1"] };
const NEVER = new AbortController().signal;

function claim(more: Partial<Claim> = {}): Claim {
  return { cpus: 1, memory: 0, gpu: 0, ...more };
}

/** Takes claims one after another and gives those that were admitted at once. */
async function admitted(claims: readonly Claim[]): Promise<number[]> {
  const slots = new Slots(LIMITS);
  const held: number[] = [];
  claims.forEach((each, i) =>
    void slots.take(each, NEVER).then(() => held.push(i))
  );
  await new Promise((resolve) => setTimeout(resolve, 0));
  return held;
}

Deno.test("Slots.take() admits what fits within jobs, processors, memory, GPUs and mutexes", async () => {
  const cases: [string, Claim[], number[]][] = [
    ["jobs", [claim(), claim(), claim(), claim()], [0, 1, 2]],
    ["processors", [claim({ cpus: 3 }), claim({ cpus: 2 }), claim()], [0, 2]],
    ["memory", [claim({ memory: 60 }), claim({ memory: 50 })], [0]],
    ["GPUs", [claim({ gpu: 2 }), claim({ gpu: 1 }), claim()], [0, 2]],
    ["mutex", [
      claim({ mutex: "m" }),
      claim({ mutex: "m" }),
      claim({ mutex: "n" }),
    ], [0, 2]],
    ["more than there is", [claim({ cpus: 99, memory: 1e12 }), claim()], [0]],
  ];
  for (const [name, claims, expected] of cases) {
    assert.deepEqual(await admitted(claims), expected, name);
  }
});

Deno.test("Slots.take() admits who waits when another gives back", async () => {
  const slots = new Slots({ ...LIMITS, jobs: 1 });
  const first = await slots.take(claim(), NEVER);
  const second = slots.take(claim(), NEVER);
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
});

Deno.test("Slots.take() stops waiting when interrupted, and refuses GPUs that there are not", async () => {
  const slots = new Slots({ ...LIMITS, jobs: 1 });
  using _first = await slots.take(claim(), NEVER);
  const interrupt = new AbortController();
  const second = slots.take(claim(), interrupt.signal);
  interrupt.abort(new Error("Enough"));
  await assert.rejects(second, /Enough/);
  await assert.rejects(
    slots.take(claim({ gpu: 3 }), NEVER),
    /It needs 3 GPUs, and 2 can be used/,
  );
});

/** Stages that say when they begin and end. */
function spans(project: TestProject, more: Partial<StageOptions>) {
  project.write("spans/.keep", "");
  const folder = JSON.stringify(project.path("spans"));
  project.task(
    "span",
    `const start = Date.now();
     await new Promise((r) => setTimeout(r, 400));
     Deno.writeTextFileSync(${folder} + "/" + params.n, JSON.stringify([start, Date.now(), Deno.env.get("CUDA_VISIBLE_DEVICES")]));`,
    {
      rest:
        `permissions: { write: () => [${folder}], env: ["CUDA_VISIBLE_DEVICES"] },`,
    },
  );
  return Object.fromEntries(
    [0, 1].map((n) => [`s${n}`, { task: "span", params: { n }, ...more }]),
  );
}

function spansOf(project: TestProject): [number, number, string][] {
  return [0, 1].map((n) => JSON.parse(project.read("spans", String(n))));
}

function overlap([a, b]: [number, number, string][]): boolean {
  return a![0] < b![1] && b![0] < a![1];
}

Deno.test("run() runs stages side by side, and those with the same mutex one by one", async () => {
  using project = new TestProject();
  await project.run(spans(project, {}));
  assert.equal(overlap(spansOf(project)), true);
  await project.run(spans(project, { mutex: "m" }), {
    force: new Set(["s0", "s1"]),
  });
  assert.equal(overlap(spansOf(project)), false);
});

Deno.test("run() hands each stage GPUs of its own, and none to the others", async () => {
  using project = new TestProject();
  const limits = { jobs: 2, cpus: 2, memory: 1e9, gpus: ["7", "9"] };
  await project.run(spans(project, { resources: { gpu: 1 } }), { limits });
  assert.deepEqual(spansOf(project).map(([, , id]) => id).sort(), ["7", "9"]);
  await project.run(spans(project, {}), {
    limits,
    force: new Set(["s0", "s1"]),
  });
  assert.deepEqual(spansOf(project).map(([, , id]) => id), ["", ""]);
});

Deno.test("two schedulers never share a GPU", async () => {
  using one = new TestProject();
  using other = new TestProject();
  const limits = { jobs: 1, cpus: 2, memory: 1e9, gpus: ["7"] };
  const stages = (project: TestProject) => {
    const { s0 } = spans(project, { resources: { gpu: 1 } });
    return { s0: s0! };
  };
  const first = one.spawn(stages(one), { limits });
  const second = other.spawn(stages(other), { limits });
  await Promise.all([first.end(), second.end()]);
  const both = [one, other].map((project) =>
    JSON.parse(project.read("spans", "0"))
  ) as [number, number, string][];
  assert.equal(overlap(both), false);
});

import { assert, assertEquals } from "@std/assert";
import { type Ran, type StageOptions, TestProject } from "./project.ts";

/** Seconds that are expected of each stage. */
function expected({ events }: Ran): Record<string, number | undefined> {
  const told = events.find(({ type }) => type === "expected");
  assert(told?.type === "expected", JSON.stringify(events));
  return Object.fromEntries(
    told.stages.map(({ stage, seconds }) => [stage, seconds]),
  );
}

/** Seconds that each stage took that ran. */
function taken({ events }: Ran): Record<string, number> {
  return Object.fromEntries(
    events.flatMap((event) =>
      event.type === "finished" && event.outcome === "ran"
        ? [[event.stage, event.seconds]]
        : []
    ),
  );
}

Deno.test("run() tells how long its stages took before, and what the cache saved", async () => {
  using project = new TestProject();
  project.task("make", "return params.n;");
  const make = (n: number): StageOptions => ({ task: "make", params: { n } });
  const first = await project.run({ "m@seed=0": make(0), other: make(9) });
  assertEquals(expected(first), { "m@seed=0": undefined, other: undefined });
  assertEquals(first.summary.savedSeconds, 0);
  const seconds = taken(first);

  const second = await project.run({
    "m@seed=0": make(1),
    "m@seed=1": make(2),
    other: make(9),
    late: { ...make(3), resources: { cpus: 2 } },
  });
  assertEquals(expected(second), {
    "m@seed=0": seconds["m@seed=0"],
    "m@seed=1": undefined,
    other: seconds.other,
    late: undefined,
  });
  assertEquals(second.summary.unchanged, 1);
  assertEquals(second.summary.savedSeconds, seconds.other);
});

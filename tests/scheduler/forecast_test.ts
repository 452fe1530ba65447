import { assertAlmostEquals, assertEquals } from "@std/assert";
import { Forecast, Pace } from "../../lib/scheduler/forecast.ts";
import type { ExpectedStage } from "../../lib/scheduler/events.ts";

const LIMITS = { cpus: 2, gpus: 1, jobs: 8 };

/** Seconds left of a run that has not begun. */
function left(
  stages: readonly (Partial<ExpectedStage> & { stage: string })[],
  limits = LIMITS,
) {
  const forecast = new Forecast();
  const none = { needs: [], cpus: 1, gpus: 0 };
  forecast.expect({
    stages: stages.map((it) => ({ ...none, ...it })),
    ...limits,
  });
  return forecast.left(new Map());
}

Deno.test("Forecast takes the longest chain of stages, or all work within a limit", () => {
  const three = ["a", "b", "c"].map((stage) => ({ stage, seconds: 10 }));
  assertEquals(left(three), { seconds: 15, isMinimum: false });
  assertEquals(left(three, { ...LIMITS, jobs: 1 })?.seconds, 30);
  assertEquals(left(three.map((it) => ({ ...it, gpus: 1 })))?.seconds, 30);
  // Asks for more than there is: it runs alone.
  assertEquals(left(three.map((it) => ({ ...it, cpus: 4 })))?.seconds, 30);
  assertEquals(
    left([
      { stage: "a", seconds: 5 },
      { stage: "b", needs: ["a"], seconds: 7 },
      { stage: "c", needs: ["a"], seconds: 3 },
      { stage: "d", needs: ["b", "c"], seconds: 1 },
    ])?.seconds,
    13,
  );
  assertEquals(left([three[0]!, { stage: "b" }]), {
    seconds: 10,
    isMinimum: true,
  });
  assertEquals(left([{ stage: "b" }]), undefined);
  // As the other stages of its name.
  assertEquals(
    left([
      { stage: "m@seed=0", seconds: 10 },
      { stage: "m@seed=1", seconds: 20 },
      { stage: "m@seed=2", needs: ["m@seed=1"] },
    ])?.seconds,
    35,
  );
});

/** Progress of a stage of 100 steps. */
function step(done: number, note?: string) {
  return {
    type: "progress",
    stage: "a",
    done,
    total: 100,
    unit: "steps",
    ...(note !== undefined && { note }),
  } as const;
}

Deno.test("Pace counts from the step at which a stage resumes", () => {
  const pace = new Pace(0, undefined);
  assertEquals(pace.left(0), undefined);
  pace.update(step(60), 10_000);
  assertEquals(pace.left(10_000), undefined);
  pace.update(step(70), 15_000);
  assertAlmostEquals(pace.left(15_000)!, 15);
  assertAlmostEquals(pace.left(20_000)!, 10);
});

Deno.test("Pace trusts an earlier run at the start and the steps later", () => {
  const pace = new Pace(0, 1000);
  assertEquals(pace.left(100_000), 900);
  pace.update(step(0), 0);
  pace.update(step(10), 10_000);
  // 90 s by the steps, 990 s by the earlier run, half of each at a tenth.
  assertAlmostEquals(pace.left(10_000)!, 540);
  pace.update(step(20), 20_000);
  assertAlmostEquals(pace.left(20_000)!, 80);
});

Deno.test("Pace says what a stage does before its first step", () => {
  const pace = new Pace(0, undefined);
  pace.update(step(0, "compiling length 32"), 0);
  assertEquals(pace.otherWork, "compiling length 32");
  pace.update(step(10, "loss 0.5"), 60_000);
  assertEquals(pace.otherWork, undefined);
  // The time of compiling is not that of ten steps.
  assertEquals(pace.left(60_000), undefined);
});

Deno.test("Pace tells nothing once a stage takes longer than the run before, unless it takes steps", () => {
  const pace = new Pace(0, 10);
  assertEquals(pace.left(11_000), undefined);
});

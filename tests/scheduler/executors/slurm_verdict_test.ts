import { assertEquals } from "@std/assert";
import { verdict } from "../../../lib/scheduler/executors/slurm_verdict.ts";

/** What becomes of a job in a state: `again`, `checkpoint` or `fails`, unless it is active or has ended. */
function judge(state: string, why = ""): string {
  const known = { job: "7", node: "n1", memory: "1024M", time: "01:00:00" };
  const judged = verdict(state, why, known);
  if (typeof judged === "string") return judged;
  const what = judged.again ? "again" : judged.limit ? "checkpoint" : "fails";
  return `${what}: ${judged.reason}`;
}

Deno.test("verdict() tells pre-emption, node failure, time limit, memory and cancellation apart", () => {
  // States of https://slurm.schedmd.com/job_state_codes.html, long form.
  assertEquals(
    Object.fromEntries(
      [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PENDING",
        "PREEMPTED",
        "RUNNING",
        "SUSPENDED",
        "TIMEOUT",
        "COMPLETING",
        "CONFIGURING",
        "REQUEUED",
        "STAGE_OUT",
      ].map((state) => [state, judge(state)]),
    ),
    {
      BOOT_FAIL: 'again: Job 7 could not start on node "n1" (BOOT_FAIL)',
      CANCELLED: 'fails: Job 7 was cancelled on node "n1", not by this run',
      COMPLETED: "ended",
      DEADLINE:
        'checkpoint: Job 7 reached its time limit (01:00:00) on node "n1": raise "time" in its resources or the profile',
      FAILED: "ended",
      NODE_FAIL: 'again: Job 7 lost its node "n1"',
      OUT_OF_MEMORY:
        'fails: Job 7 ran out of memory (1024M) on node "n1": raise "memory" in its resources or the profile',
      PENDING: "active",
      PREEMPTED: 'again: Job 7 was pre-empted on node "n1"',
      RUNNING: "active",
      SUSPENDED: "active",
      TIMEOUT:
        'checkpoint: Job 7 reached its time limit (01:00:00) on node "n1": raise "time" in its resources or the profile',
      COMPLETING: "active",
      CONFIGURING: "active",
      REQUEUED: "active",
      STAGE_OUT: "active",
    },
  );
});

Deno.test("verdict() submits a job again that Slurm holds since its node did not start it", () => {
  assertEquals(
    judge("PENDING", "launch failed requeued held"),
    "again: Job 7 could not start (launch failed requeued held)",
  );
  assertEquals(judge("PENDING", "Resources"), "active");
});

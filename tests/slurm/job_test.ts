import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import type { ProcessEnd } from "../../lib/scheduler/process.ts";
import type { Ended, Job } from "../../lib/scheduler/executors/executor.ts";
import { follow } from "../../lib/scheduler/process.ts";
import { makeStart } from "../../lib/scheduler/runs.ts";
import { SlurmJob, verdict } from "../../lib/slurm/job.ts";
import type { End } from "../../lib/slurm/script.ts";
import { INTERVALS } from "../../lib/slurm/settings.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";
import { until } from "../until.ts";

/** A job that is running, and what its node shows of its files. */
class RunningJob implements Disposable {
  readonly #temporary = new TemporaryFolder();
  readonly folder = this.#temporary.join("0");
  readonly slurm: SlurmJob;
  isFinished = false;
  #now = 0;
  readonly #clock = performance.now;

  /**
   * @param waits True if time passes by {@linkcode hear} only; else it passes
   * twenty times as fast.
   */
  constructor(waits = true) {
    performance.now = () =>
      waits ? this.#now : 20 * this.#clock.call(performance);
    const { folder } = this;
    makeStart(folder);
    const checkpoint = join(folder, "checkpoint");
    Deno.mkdirSync(checkpoint);
    for (const name of ["stdout", "stderr"]) this.show(name, "");
    this.show("began", "");
    this.slurm = new SlurmJob(
      { folder, checkpoint, onState() {} } as unknown as Job,
      [],
      {
        pace: INTERVALS,
        askNow() {},
        finished: () => this.isFinished = true,
      },
    );
    this.slurm.submission = { batch: "b", index: undefined };
    this.slurm.submitted("7");
  }

  show(name: string, text: string): void {
    Deno.writeTextFileSync(join(this.folder, name), text);
  }

  end(more: Partial<End> = {}): void {
    const end: End = {
      ...{ code: 0, began: 0, ended: 1000, cause: "", node: "n1", machine: "" },
      ...{ events: 0, stdout: 0, stderr: 0, files: 0, bytes: 0 },
      ...more,
    };
    this.show("end", JSON.stringify(end));
  }

  /** Lets seconds pass, after which `squeue` gives a state. */
  hear(state: string, seconds = 0): void {
    this.#now += seconds * 1000;
    this.slurm.readFiles();
    if (this.isFinished) return;
    this.slurm.update({ id: "7", state, reason: "", node: "n1", comment: "b" });
  }

  [Symbol.dispose](): void {
    performance.now = this.#clock;
    this.#temporary[Symbol.dispose]();
  }
}

function reasonOf(ended: Ended): string {
  assert("reason" in ended, JSON.stringify(ended));
  return ended.reason;
}

Deno.test("SlurmJob waits for an exit file and then for an output, for each as long as a file may be late", async () => {
  using job = new RunningJob();
  job.hear("COMPLETED");
  job.end({ files: 1, bytes: 1 });
  job.hear("COMPLETED", INTERVALS.late - 1);
  job.hear("COMPLETED", INTERVALS.late - 1);
  assertEquals(job.isFinished, false);
  job.show("output/out.txt", "1");
  job.hear("COMPLETED", 0.5);
  const ended = await job.slurm.ended.promise;
  assertEquals("code" in ended && ended.code, 0);
});

Deno.test("SlurmJob gives up an exit file that does not appear, and an output that does not", async () => {
  for (
    const [end, reason] of [
      [undefined, /^Job 7 ended on node "n1" and has left no exit file in "/],
      [{ files: 1 }, /^The output of job 7 on node "n1" is not complete here/],
    ] as const
  ) {
    using job = new RunningJob();
    if (end !== undefined) job.end(end);
    job.hear("COMPLETED");
    job.hear("COMPLETED", INTERVALS.late + 1);
    assertMatch(reasonOf(await job.slurm.ended.promise), reason);
  }
});

Deno.test("SlurmJob fails a job that Slurm has ended and that has left no exit file", async () => {
  for (const state of ["TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "DEADLINE"]) {
    using job = new RunningJob();
    job.hear(state);
    job.hear(state, INTERVALS.late);
    assertMatch(reasonOf(await job.slurm.ended.promise), /^Job 7 /);
  }
});

Deno.test("SlurmJob starts again what was pre-empted, or did not see its scheduler, but not what was told to stop", async () => {
  const againOf = async (tell: (job: RunningJob) => void) => {
    using job = new RunningJob();
    tell(job);
    const ended = await job.slurm.ended.promise;
    return "again" in ended && ended.again;
  };
  assertEquals(
    await againOf((job) => {
      job.end({ code: 143, cause: "term" });
      job.hear("RUNNING");
      assertEquals(job.isFinished, false);
      job.hear("PREEMPTED", 3);
    }),
    true,
  );
  const alone = (job: RunningJob) => {
    job.end({ code: 143, cause: "alone" });
    job.hear("RUNNING");
    job.hear("FAILED", 3);
  };
  assertEquals(await againOf(alone), true);
  assertEquals(
    await againOf((job) => {
      job.slurm.stop = "asked";
      alone(job);
    }),
    false,
  );
});

/**
 * Lets the scheduler follow a stage whose job runs, with an executor that looks
 * often.
 */
class FollowedStage extends RunningJob {
  /** What `squeue` says. */
  state = "RUNNING";
  stops = 0;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor() {
    super(false);
    this.#timer = setInterval(() => {
      if (!this.isFinished) this.hear(this.state);
    }, 10);
  }

  async follow(): Promise<ProcessEnd> {
    return await follow(() => ({
      started: this.slurm.started.promise,
      ended: this.slurm.ended.promise,
      remote: { interval: 10, late: 500 },
      stop: () => {
        this.stops++;
        this.slurm.stop ??= "wanted";
        return Promise.resolve();
      },
    }), {
      ...{ stage: "a", emit() {}, onReady() {}, grace: 20 },
      folder: this.folder,
      timeout: undefined,
      signal: new AbortController().signal,
    });
  }

  /** Writes the events of a task that is done. */
  done(): void {
    this.show("events.jsonl", '{"type":"done","printed":0}\n');
  }

  override [Symbol.dispose](): void {
    clearInterval(this.#timer);
    super[Symbol.dispose]();
  }
}

Deno.test("follow() waits for the exit file of a job that has ended, and stops one that does not end", async () => {
  {
    using stage = new FollowedStage();
    const following = stage.follow();
    stage.done();
    stage.state = "COMPLETED";
    await new Promise((resolve) => setTimeout(resolve, 300));
    assertEquals([stage.stops, stage.isFinished], [0, false]);
    stage.end();
    assertEquals((await following).state, "done");
  }
  using stage = new FollowedStage();
  const following = stage.follow();
  stage.done();
  await until(() => stage.stops === 1, "the stage was stopped");
  stage.state = "FAILED";
  stage.end({ code: 143, cause: "term" });
  const end = await following;
  assert(end.state === "failed");
  assertMatch(
    end.message,
    /^The process did not end within 10 s after run\(\) returned/,
  );
});

/**
 * What becomes of a job in a state: `again`, `checkpoint` or `fails`, unless it
 * is active or has ended.
 */
function judge(state: string, why = ""): string {
  const listed = { id: "7", state, reason: why, node: "n1" };
  const judged = verdict(listed, ["--mem=1024M", "--time=01:00:00"]);
  if (typeof judged === "string") return judged;
  const what = judged.again === "always"
    ? "again"
    : judged.again === "from checkpoint"
    ? "checkpoint"
    : "fails";
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

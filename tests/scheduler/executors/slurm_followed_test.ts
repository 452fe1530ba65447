import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { Job } from "../../../lib/scheduler/executors/executor.ts";
import { FollowedJob } from "../../../lib/scheduler/executors/slurm_followed.ts";
import type { End } from "../../../lib/scheduler/executors/slurm_job.ts";
import { follow } from "../../../lib/scheduler/process.ts";
import { PACE } from "../../../lib/scheduler/executors/slurm_settings.ts";
import { until } from "../../until.ts";

/** Prefix of the lines that are events. */
const MARK = "\x1emark ";

/** A job that is running, and what its node shows of its files. */
class RunningJob implements Disposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "run-" });
  readonly followed: FollowedJob;
  isFinished = false;
  #now = 0;
  readonly #clock = performance.now;

  /** @param waits True if time passes by {@linkcode hear} only. */
  constructor(waits = true) {
    if (waits) performance.now = () => this.#now;
    Deno.mkdirSync(join(this.folder, "checkpoint"));
    this.begin(0);
    const { folder } = this;
    this.followed = new FollowedJob(
      { folder, checkpoint: join(folder, "checkpoint"), mark: MARK } as Job,
      [],
      PACE,
      {
        askNow() {},
        discard() {},
        finished: () => this.isFinished = true,
      },
    );
    this.followed.enter("b", undefined);
    this.followed.submitted("7");
  }

  begin(round: number): void {
    Deno.mkdirSync(join(this.folder, `output-${round}`));
    for (const name of ["stdout", "stderr"]) this.show(`${name}-${round}`, "");
    this.show(`began-${round}`, '{"node":"n1","machine":""}');
  }

  show(name: string, text: string): void {
    Deno.writeTextFileSync(join(this.folder, name), text);
  }

  end(more: Partial<End> = {}, round = 0): void {
    const end: End = {
      ...{ code: 0, began: 0, ended: 1000, cause: "", fresh: false },
      ...{ node: "n1", machine: "", stdout: 0, stderr: 0, files: 0, bytes: 0 },
      ...more,
    };
    this.show(`end-${round}`, JSON.stringify(end));
  }

  /** Lets seconds pass, after which `squeue` gives a state. */
  hear(state: string, seconds = 0): void {
    this.#now += seconds * 1000;
    this.followed.look();
    if (this.isFinished) return;
    this.followed.hear({
      id: "7",
      state,
      reason: "",
      node: "n1",
      comment: "b",
    });
  }

  [Symbol.dispose](): void {
    performance.now = this.#clock;
    Deno.removeSync(this.folder, { recursive: true });
  }
}

Deno.test("FollowedJob waits for an exit file and then for an output, for each as long as a file may be late", async () => {
  using job = new RunningJob();
  job.hear("COMPLETED");
  job.end({ files: 1, bytes: 1 });
  job.hear("COMPLETED", PACE.late - 1);
  job.hear("COMPLETED", PACE.late - 1);
  assertEquals(job.isFinished, false);
  job.show("output-0/out.txt", "1");
  job.hear("COMPLETED", 0.5);
  assertEquals((await job.followed.ended.promise).code, 0);
});

Deno.test("FollowedJob gives up an exit file that does not appear, and an output that does not", async () => {
  for (
    const [end, reason] of [
      [undefined, /^Job 7 ended on node "n1" and has left no exit file in "/],
      [{ files: 1 }, /^The output of job 7 on node "n1" is not complete here/],
    ] as const
  ) {
    using job = new RunningJob();
    if (end !== undefined) job.end(end);
    job.hear("COMPLETED");
    job.hear("COMPLETED", PACE.late + 1);
    const { code, reason: given = "" } = await job.followed.ended.promise;
    assertEquals([code, reason.test(given)], [1, true], given);
  }
});

Deno.test("FollowedJob fails a job that Slurm has ended and that has left no exit file", async () => {
  for (const state of ["TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "DEADLINE"]) {
    using job = new RunningJob();
    job.hear(state);
    job.hear(state, PACE.late);
    const { code, reason = "" } = await job.followed.ended.promise;
    assertEquals([code, reason.startsWith("Job 7 ")], [1, true], reason);
  }
});

/** Lets the scheduler follow a stage whose job runs, with an executor that looks often. */
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

  async follow(
    more: { readonly timeout?: number; readonly lastSeconds?: number },
  ): Promise<number | undefined> {
    const { stdout, stderr, started, ended } = this.followed;
    const { round } = await follow({
      stdout: stdout.stream,
      stderr: stderr.stream,
      started: started.promise,
      ended: ended.promise,
      isRunning: () => this.followed.isRunning(),
      stop: (grace) => {
        this.stops++;
        const deadline = performance.now() + grace * 1000;
        this.followed.stop ??= { asked: false, killed: false, deadline };
        return Promise.resolve();
      },
    }, {
      ...{ stage: "a", mark: MARK, emit() {}, onReady() {}, grace: 20 },
      timeout: undefined,
      signal: new AbortController().signal,
      ...more,
    });
    return round;
  }

  /** Writes the output of a start whose task is done. */
  done(round: number): number {
    const text = `${MARK}{"type":"done"}\n`;
    this.show(`stdout-${round}`, text);
    return text.length;
  }

  override [Symbol.dispose](): void {
    clearInterval(this.#timer);
    super[Symbol.dispose]();
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

Deno.test("follow() waits for the exit file of a job that has ended, and stops one that does not end", async () => {
  {
    using stage = new FollowedStage();
    const following = stage.follow({ lastSeconds: 0.1 });
    const stdout = stage.done(0);
    stage.state = "COMPLETED";
    await pause(500);
    assertEquals([stage.stops, stage.isFinished], [0, false]);
    stage.end({ stdout });
    assertEquals(await following, 0);
  }
  using stage = new FollowedStage();
  const following = stage.follow({ lastSeconds: 0.1 });
  const stdout = stage.done(0);
  const failed = assertRejects(
    () => following,
    Error,
    "The process did not end within 0.1 s after run() returned",
  );
  await until(() => stage.stops === 1, "the stage was stopped");
  stage.state = "FAILED";
  stage.end({ stdout, code: 143, cause: "term" });
  await failed;
});

Deno.test("follow() lets a job run that starts again after its task was done", async () => {
  using stage = new FollowedStage();
  const following = stage.follow({ lastSeconds: 1 });
  stage.done(0);
  await pause(50);
  stage.begin(1);
  await pause(1500);
  assertEquals(stage.stops, 0);
  stage.end({ stdout: stage.done(1) }, 1);
  assertEquals(await following, 1);
});

Deno.test("follow() does not count the time that a pre-empted job waits in the queue towards a timeout", async () => {
  using stage = new FollowedStage();
  const following = stage.follow({ timeout: 2 });
  const failed = assertRejects(() => following, Error, "Timed out after 2 s");
  await pause(1000);
  stage.state = "PENDING";
  await pause(2200);
  assertEquals(stage.stops, 0);
  const again = performance.now();
  stage.state = "RUNNING";
  stage.begin(1);
  await until(() => stage.stops === 1, "the stage was stopped");
  // What it ran before counts, too.
  assert(performance.now() - again < 2000);
  stage.state = "FAILED";
  stage.end({ code: 143, cause: "term" }, 1);
  await failed;
});

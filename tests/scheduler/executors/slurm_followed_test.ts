import { assertEquals } from "@std/assert";
import { join } from "node:path";
import type { Job } from "../../../lib/scheduler/executors/executor.ts";
import { FollowedJob } from "../../../lib/scheduler/executors/slurm_followed.ts";
import type { End } from "../../../lib/scheduler/executors/slurm_job.ts";
import { PACE } from "../../../lib/scheduler/executors/slurm_settings.ts";

/** A job that is running, and what its node shows of its files. */
class RunningJob implements Disposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "run-" });
  readonly followed: FollowedJob;
  isFinished = false;
  #now = 0;
  readonly #clock = performance.now;

  constructor() {
    performance.now = () => this.#now;
    for (const name of ["output-0", "checkpoint"]) {
      Deno.mkdirSync(join(this.folder, name));
    }
    for (const name of ["stdout-0", "stderr-0"]) this.show(name, "");
    this.show("began-0", '{"node":"n1","machine":""}');
    const { folder } = this;
    this.followed = new FollowedJob(
      { folder, checkpoint: join(folder, "checkpoint"), mark: "" } as Job,
      [],
      { batch: "b", array: "7", round: 0 },
      PACE,
      {
        askNow() {},
        discard() {},
        finished: () => this.isFinished = true,
      },
    );
  }

  show(name: string, text: string): void {
    Deno.writeTextFileSync(join(this.folder, name), text);
  }

  end(more: Partial<End> = {}): void {
    const end: End = {
      ...{ code: 0, began: 0, ended: 1000, cause: "", fresh: false },
      ...{ node: "n1", machine: "", stdout: 0, stderr: 0, files: 0, bytes: 0 },
      ...more,
    };
    this.show("end-0", JSON.stringify(end));
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

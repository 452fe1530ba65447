import { assertEquals } from "@std/assert";
import { join } from "node:path";
import type { Job } from "../../lib/scheduler/executors/executor.ts";
import { makeStart } from "../../lib/scheduler/runs.ts";
import {
  type End,
  giveUp,
  hasArrived,
  readEnd,
  writeScript,
} from "../../lib/slurm/script.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";
import { until } from "../until.ts";
import { QUICK } from "./waiting_stages.ts";

Deno.test("hasArrived() is false until all that the exit file lists has appeared", () => {
  using folder = new TemporaryFolder();
  const { path } = folder;
  const end: End = {
    ...{ code: 0, began: 0, ended: 1000, cause: "", node: "n1", machine: "" },
    ...{ events: 2, stdout: 3, stderr: 0, files: 2, bytes: 5 },
  };
  assertEquals(readEnd(path), undefined);
  folder.write("end", JSON.stringify(end));
  assertEquals(readEnd(path), end);
  folder.write("output/a", "12");
  folder.write("stdout", "123");
  folder.write("events.jsonl", "{}");
  assertEquals(hasArrived(path, end), false);
  folder.write("output/deep/b", "1");
  assertEquals(hasArrived(path, end), false);
  folder.write("output/deep/b", "123");
  assertEquals(hasArrived(path, end), true);
  for (const name of ["stdout", "events.jsonl"]) {
    folder.write(name, "1");
    assertEquals(hasArrived(path, end), false);
    folder.write(name, "123");
  }
});

/** A job whose program runs until it is asked to end. */
class Script implements Disposable {
  readonly #temporary = new TemporaryFolder();
  readonly folder = this.#temporary.join("0");
  readonly alive = this.#temporary.join("alive");

  constructor() {
    const { spec } = makeStart(this.folder);
    Deno.writeTextFileSync(spec, "");
    const main = this.#temporary.write(
      "main.js",
      `const timer = setInterval(() => {}, 1000);
       Deno.addSignalListener("SIGTERM", () => {
         Deno.writeTextFileSync("output/out.txt", "asked");
         Deno.exit(9);
       });
       Deno.writeTextFileSync("environment", JSON.stringify(Deno.env.toObject()));
       console.log("begun");`,
    );
    const job: Job = {
      ...{ name: "a", task: "a", needs: [], startsPrograms: false },
      resources: { cpus: 1, gpus: 0, memory: 0 },
      args: ["run", "-A", "--no-config", main],
      env: { HOME: Deno.env.get("HOME") ?? "/", TOKEN: "secret" },
      folder: this.folder,
      checkpoint: this.#temporary.join("checkpoint"),
      onState() {},
    };
    this.beat();
    writeScript(job, {
      alive: this.alive,
      pace: QUICK.pace,
      machine: undefined,
      seesGpus: false,
    });
  }

  beat(): void {
    Deno.writeTextFileSync(this.alive, crypto.randomUUID());
  }

  /** Runs it, and gives it up when the program runs; resolves at its end. */
  async startAndGiveUp(): Promise<void> {
    const { status } = await this.start();
    giveUp(this.folder);
    await status;
  }

  /** Runs it as a node does; resolves when the program runs. */
  async start(): Promise<{ readonly status: Promise<Deno.CommandStatus> }> {
    const { status } = new Deno.Command("/bin/bash", {
      args: ["job.sh"],
      cwd: this.folder,
      env: { SLURM_JOB_ID: "7", CUDA_VISIBLE_DEVICES: "0" },
    }).spawn();
    await until(
      () => Deno.readTextFileSync(join(this.folder, "stdout")) === "begun\n",
      "the program had begun",
    );
    return { status };
  }

  [Symbol.dispose](): void {
    this.#temporary[Symbol.dispose]();
  }
}

const ON_LINUX = { ignore: Deno.build.os !== "linux" };

Deno.test(
  "a job asks its program to end when the heartbeat of its scheduler stops, and not before",
  ON_LINUX,
  async () => {
    using script = new Script();
    const beating = setInterval(() => script.beat(), 500 * QUICK.pace.beat);
    const { status } = await script.start();
    // Longer than the beats that it may miss.
    await new Promise((resolve) =>
      setTimeout(resolve, 12_000 * QUICK.pace.beat)
    );
    assertEquals(readEnd(script.folder), undefined);
    clearInterval(beating);
    await status;
    const { code, cause, files } = readEnd(script.folder)!;
    assertEquals([code, cause, files], [9, "alone", 1]);
  },
);

Deno.test(
  "a job ends when its scheduler has given it up, and does not start any more",
  ON_LINUX,
  async () => {
    using script = new Script();
    await script.startAndGiveUp();
    assertEquals(readEnd(script.folder)!.cause, "alone");
    Deno.removeSync(join(script.folder, "began"));
    const { code } = await new Deno.Command("/bin/bash", {
      args: ["job.sh"],
      cwd: script.folder,
    }).output();
    assertEquals(code, 0);
    const names = [...Deno.readDirSync(script.folder)].map(({ name }) => name);
    assertEquals(names.includes("began"), false);
  },
);

Deno.test(
  "a job gives its program the variables of the stage, and no GPUs that it does not ask for",
  ON_LINUX,
  async () => {
    using script = new Script();
    await script.startAndGiveUp();
    const { TOKEN, CUDA_VISIBLE_DEVICES, SLURM_JOB_ID } = JSON.parse(
      Deno.readTextFileSync(join(script.folder, "environment")),
    );
    assertEquals(
      [TOKEN, CUDA_VISIBLE_DEVICES, SLURM_JOB_ID],
      ["secret", "", undefined],
    );
  },
);

Deno.test(
  "only its owner can read the folder and the script of a job, which has the variables of the stage",
  ON_LINUX,
  () => {
    using script = new Script();
    const path = join(script.folder, "job.sh");
    assertEquals(Deno.readTextFileSync(path).includes("TOKEN=secret"), true);
    for (const it of [script.folder, path]) {
      assertEquals(Deno.statSync(it).mode! & 0o077, 0, it);
    }
  },
);

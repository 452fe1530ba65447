import { assertEquals } from "@std/assert";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Job, ROUND } from "../../../lib/scheduler/executors/executor.ts";
import {
  admit,
  type End,
  readEnd,
  reserve,
  writeScript,
} from "../../../lib/scheduler/executors/slurm_job.ts";
import { hasArrived } from "../../../lib/scheduler/executors/slurm_output.ts";
import { until } from "../../until.ts";

Deno.test("hasArrived() is false until all that the exit file lists has appeared", () => {
  const folder = Deno.makeTempDirSync({ prefix: "run-" });
  try {
    const end: End = {
      code: 0,
      began: 0,
      ended: 1000,
      cause: "",
      fresh: false,
      node: "n1",
      machine: "",
      stdout: 3,
      stderr: 0,
      files: 2,
      bytes: 5,
    };
    const write = (path: string, text: string) =>
      Deno.writeTextFileSync(join(folder, path), text);
    assertEquals(readEnd(folder, 0), undefined);
    write("end-0", JSON.stringify(end));
    assertEquals(readEnd(folder, 0), end);
    Deno.mkdirSync(join(folder, "output-0", "deep"), { recursive: true });
    write("output-0/a", "12");
    write("stdout-0", "123");
    assertEquals(hasArrived(folder, 0, end), false);
    write("output-0/deep/b", "1");
    assertEquals(hasArrived(folder, 0, end), false);
    write("output-0/deep/b", "123");
    assertEquals(hasArrived(folder, 0, end), true);
    write("stdout-0", "1");
    assertEquals(hasArrived(folder, 0, end), false);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("reserve() keeps a job out that has not started, and does not stop one that has", () => {
  const folder = Deno.makeTempDirSync({ prefix: "run-" });
  try {
    assertEquals(reserve(folder), true);
    assertEquals(reserve(folder), true);
    admit(folder, "second");
    assertEquals(Deno.readLinkSync(join(folder, "claim")), "second");
    assertEquals(reserve(folder), false);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

/** Runs the script of a job in its run folder, as a node does. */
function startRound(folder: string): Promise<Deno.CommandStatus> {
  return new Deno.Command("/bin/bash", {
    args: [join(folder, "job.sh"), "batch"],
    cwd: folder,
  }).spawn().status;
}

Deno.test({
  name:
    "a job that starts again keeps its files apart from the process of its first start, which still runs",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const folder = Deno.makeTempDirSync({ prefix: "run-" });
    const at = (...path: string[]) => join(folder, ...path);
    const read = (path: string) => Deno.readTextFileSync(at(path));
    try {
      // Writes half of its output; the first start writes the rest only later.
      Deno.writeTextFileSync(
        at("main.js"),
        `const { output, go } = JSON.parse(Deno.readTextFileSync("/dev/stdin"));
         const file = output + "/out.txt";
         Deno.writeTextFileSync(file, "half of ");
         while (output.endsWith("0") && ![...Deno.readDirSync(go)].some(({ name }) => name === "go")) {
           await new Promise((resolve) => setTimeout(resolve, 10));
         }
         Deno.writeTextFileSync(file, Deno.args[0] + Deno.env.get("TMPDIR"));`,
      );
      const output = at(`output-${ROUND}`);
      const input = at("spec.json");
      Deno.writeTextFileSync(input, JSON.stringify({ output, go: folder }));
      Deno.mkdirSync(at("checkpoint"));
      const job: Job = {
        ...{
          name: "a",
          task: "a",
          needs: [],
          startsPrograms: false,
          mark: "",
          code: [],
        },
        resources: { cpus: 1, gpus: 0, memory: 0 },
        args: ["run", "-A", "--no-config", at("main.js"), `${ROUND} `],
        input,
        env: { TMPDIR: `tmp-${ROUND}`, HOME: Deno.env.get("HOME") ?? "/" },
        folder,
        checkpoint: at("checkpoint"),
      };
      writeScript(job, undefined);
      const first = startRound(folder);
      await until(
        () => existsSync(at("output-0/out.txt")),
        "the first start had written",
      );
      await startRound(folder);
      assertEquals(read("output-1/out.txt"), "1 tmp-1");
      assertEquals(read("output-0/out.txt"), "half of ");
      Deno.writeTextFileSync(at("go"), "");
      await first;
      assertEquals(read("output-1/out.txt"), "1 tmp-1");
      assertEquals(read("output-0/out.txt"), "0 tmp-0");
      for (const round of [0, 1]) {
        const { code, files } = readEnd(folder, round)!;
        assertEquals([code, files], [0, 1], read("stderr-" + round));
      }
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});

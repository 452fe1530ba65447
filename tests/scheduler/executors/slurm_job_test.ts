import { assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  admit,
  type End,
  hasArrived,
  readEnd,
  reserve,
} from "../../../lib/scheduler/executors/slurm_job.ts";

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
    Deno.mkdirSync(join(folder, "output", "deep"), { recursive: true });
    write("output/a", "12");
    write("stdout-0", "123");
    assertEquals(hasArrived(folder, 0, end), false);
    write("output/deep/b", "1");
    assertEquals(hasArrived(folder, 0, end), false);
    write("output/deep/b", "123");
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

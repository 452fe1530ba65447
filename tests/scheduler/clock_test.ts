import { assertEquals } from "@std/assert";
import { TestProject } from "./project.ts";

const READER = {
  rest: "sources: (params: any) => ({ data: params.data }),",
};
const STAGES = { reader: { task: "reader", params: { data: "data.txt" } } };

/** A project whose stage has read a file with this mtime and is up to date. */
async function ranProject(time?: Date): Promise<TestProject> {
  const project = new TestProject();
  project.write("data.txt", "one");
  if (time !== undefined) {
    Deno.utimeSync(project.path("data.txt"), time, time);
  }
  project.task("reader", "return Deno.readTextFileSync(params.data);", READER);
  await project.run(STAGES);
  assertEquals((await project.run(STAGES)).summary.unchanged, 1);
  return project;
}

Deno.test("run() notices a source replaced within the same second, with the same size and mtime", async () => {
  using project = await ranProject();
  const path = project.path("data.txt");
  for (const [how, text] of [["write", "two"], ["rename", "six"]] as const) {
    const { atime, mtime } = Deno.statSync(path);
    if (how === "rename") {
      project.write("new.txt", text);
      Deno.renameSync(project.path("new.txt"), path);
    } else Deno.writeTextFileSync(path, text);
    Deno.utimeSync(path, atime!, mtime!);
    assertEquals((await project.run(STAGES)).ran, ["reader"], how);
    assertEquals(project.read("out/test/reader/out.txt"), text);
  }
});

Deno.test("run() notices a changed source whose mtime is in the future", async () => {
  const future = new Date(Date.now() + 3_600_000);
  using project = await ranProject(future);
  project.write("data.txt", "two");
  Deno.utimeSync(project.path("data.txt"), future, future);
  assertEquals((await project.run(STAGES)).ran, ["reader"]);
  assertEquals(project.read("out/test/reader/out.txt"), "two");
});

Deno.test("run() reuses and cleans up results whose times are in the future", async () => {
  using project = await ranProject();
  // As after the clock was set back: everything in the cache is from the
  // future.
  const future = new Date(Date.now() + 3_600_000);
  const age = (folder: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(folder)) {
      const path = `${folder}/${name}`;
      if (isDirectory) age(path);
      Deno.utimeSync(path, future, future);
    }
  };
  age(project.path("out"));
  assertEquals((await project.run(STAGES)).summary.unchanged, 1);
  project.write("data.txt", "two");
  assertEquals((await project.run(STAGES, { cacheLimit: 1 })).ran, [
    "reader",
  ]);
  assertEquals(project.read("out/test/reader/out.txt"), "two");
});

Deno.test("run() notices changed modules whose mtime is in the future", async () => {
  using project = new TestProject();
  project.write("lib/value.ts", "export const value = 1;");
  project.task("make", "return value;", {
    head: 'import { value } from "../lib/value.ts";',
  });
  const future = new Date(Date.now() + 3_600_000);
  for (const value of [1, 2]) {
    project.write("lib/value.ts", `export const value = ${value};`);
    Deno.utimeSync(project.path("lib/value.ts"), future, future);
    assertEquals((await project.run({ s: { task: "make" } })).ran, ["s"]);
    assertEquals(project.read("out/test/s/out.txt"), String(value));
  }
});

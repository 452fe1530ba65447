import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { replaceFolder } from "../../lib/scheduler/visible.ts";
import { TestProject } from "./project.ts";
import { TemporaryFolder } from "../store/temporary_folder.ts";

/** Elsewhere, folders cannot be swapped atomically. */
const ignore = !["linux", "darwin"].includes(Deno.build.os);

Deno.test(
  "replaceFolder() leaves no moment without a folder",
  { ignore },
  async () => {
    using folder = new TemporaryFolder();
    folder.write("shown/x.txt", "0");
    // Looks as often as it can, and counts how often the folder is missing.
    const watcher = new Deno.Command("sh", {
      args: [
        "-c",
        'missed=0; while [ ! -e "$1" ]; do [ -e "$0" ] || missed=$((missed + 1)); done; echo $missed',
        folder.join("shown/x.txt"),
        folder.join("stop"),
      ],
      stdout: "piped",
    }).spawn();
    for (let i = 1; i <= 100; i++) {
      folder.write(`fresh${i}/x.txt`, String(i));
      replaceFolder(
        folder.join("shown"),
        folder.join(`fresh${i}`),
        () => folder.join(`old${i}`),
      );
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    folder.write("stop", "");
    const { stdout } = await watcher.output();
    assertEquals(new TextDecoder().decode(stdout).trim(), "0");
    assertEquals(Deno.readTextFileSync(folder.join("shown/x.txt")), "100");
  },
);

/** A folder of another file system than that of temporary files, on most machines with Linux. */
const OTHER = "/dev/shm";

function isElsewhere(): boolean {
  try {
    return Deno.statSync(OTHER).dev !== Deno.statSync("/tmp").dev;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test(
  "run() shows and restores outputs in a folder on another disk, and removes copies that were not finished",
  { ignore: !isElsewhere() },
  async () => {
    using project = new TestProject();
    project.task("shown", "return 'shown';");
    const stages = { a: { task: "shown" } };
    const elsewhere = Deno.makeTempDirSync({ dir: OTHER });
    try {
      Deno.mkdirSync(project.path("out"));
      Deno.symlinkSync(elsewhere, project.path("out/test"));
      // As if a scheduler had been killed while it copied.
      project.write("out/cache/replaced/test/.a.9-0123abcd-7", "copy");
      project.write("out/test/.a.9-0123abcd-7/out.txt", "sho");
      for (const outcome of ["ran", "restored"] as const) {
        const { summary } = await project.run(stages);
        assertEquals(summary[outcome], 1);
        assertEquals(project.read("out/test/a/out.txt"), "shown");
        if (outcome === "ran") {
          Deno.removeSync(project.path("out/test/a/out.txt"));
        }
      }
      const names = [...Deno.readDirSync(elsewhere)].map(({ name }) => name);
      assertEquals(names, ["a"]);
    } finally {
      Deno.removeSync(elsewhere, { recursive: true });
    }
  },
);

Deno.test("run() removes a replaced folder that the disk once said was not there", async () => {
  using project = new TestProject();
  project.task("shown", "return params.word;");
  const run = (word: string) =>
    project.run({ a: { task: "shown", params: { word } } });
  await run("first");
  const { lstatSync } = Deno;
  let denied = "";
  Deno.lstatSync = (path) => {
    const isReplaced = /\/\.a\.[^/]+$/.test(String(path));
    if (denied !== "" || !isReplaced) return lstatSync(path);
    denied = String(path);
    throw new Deno.errors.NotFound(denied);
  };
  try {
    await run("second");
  } finally {
    Deno.lstatSync = lstatSync;
  }
  assertNotEquals(denied, "");
  await run("third");
  const names = [...Deno.readDirSync(project.path("out/test"))]
    .map(({ name }) => name);
  assertEquals(names, ["a"]);
});

Deno.test("run() replaces an output also while another host, which does not see the lock, sweeps what it was", async () => {
  using project = new TestProject();
  project.task("shown", "return params.word;");
  const run = (word: string) =>
    project.run({ a: { task: "shown", params: { word } } });
  await run("first");
  const note = project.path("out/test/a/note.txt");
  const { readTextFileSync, renameSync } = Deno;
  let swept = 0;
  /** Lets the other host be first. */
  const sweep = (path: string) => {
    swept++;
    Deno.removeSync(path);
  };
  try {
    Deno.readTextFileSync = (path) => {
      if (String(path).includes("/cache/replaced/")) sweep(String(path));
      return readTextFileSync(path);
    };
    assertEquals((await run("second")).summary.failed, 0);
    Deno.readTextFileSync = readTextFileSync;
    Deno.writeTextFileSync(note, "a note");
    Deno.renameSync = (from, to) => {
      if (String(to).includes("/_kept/")) sweep(String(from));
      return renameSync(from, to);
    };
    const { summary, events } = await run("third");
    assertEquals(summary.failed, 0);
    assertEquals(events.filter(({ type }) => type === "kept"), []);
  } finally {
    Object.assign(Deno, { readTextFileSync, renameSync });
  }
  assert(swept >= 2);
  assertEquals(project.read("out/test/a/out.txt"), "third");
});

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { cleanUp } from "../../lib/store/cleanup.ts";
import { readIfThere } from "../../lib/files/files.ts";
import { Store } from "../../lib/store/store.ts";
import { Random } from "../soak/random.ts";
import { type StageOptions, TestProject } from "./project.ts";

/** A project with a task that writes two files, one of them in a folder. */
function makeProject(): TestProject {
  const project = new TestProject();
  project.task(
    "make",
    `Deno.mkdirSync(stage.output + "/more");
     Deno.writeTextFileSync(stage.output + "/more/copy.txt", params.text);
     return params.text;`,
  );
  return project;
}

function stagesOf(text: string): Record<string, StageOptions> {
  return {
    a: { task: "make", params: { text } },
    b: { task: "make", params: { text: `${text}${text}` } },
  };
}

Deno.test("run() moves a folder with files of the user out of the way of an output, and says where", async () => {
  using project = makeProject();
  const thesis = project.path("out/test/a/thesis.tex");
  Deno.mkdirSync(dirname(thesis), { recursive: true });
  Deno.writeTextFileSync(thesis, "my thesis");
  const { summary, events } = await project.run(stagesOf("x"));
  assertEquals([summary.ran, summary.failed], [2, 0]);
  const folder = project.path("out/test/_kept/a/1");
  assertEquals(
    events.filter(({ type }) => type === "kept"),
    [{ type: "kept", stage: "a", files: 1, folder }],
  );
  assertEquals(project.read("out/test/_kept/a/1/thesis.tex"), "my thesis");
  assertEquals(project.read("out/test/a/out.txt"), "x");
});

Deno.test("run() replaces no output with files of the user while a file has the place to which they are moved", async () => {
  using project = makeProject();
  project.write("out/test/a/thesis.tex", "my thesis");
  project.write("out/test/_kept", "a file of mine");
  const { summary, events } = await project.run(stagesOf("x"));
  assertEquals([summary.ran, summary.failed], [1, 1]);
  const failure = events.find((it) => it.type === "failed");
  assertStringIncludes(failure!.message, project.path("out/test/_kept"));
  assertEquals(project.read("out/test/a/thesis.tex"), "my thesis");
  Deno.renameSync(project.path("out/test/_kept"), project.path("moved"));
  assertEquals((await project.run(stagesOf("x"))).summary.failed, 0);
  assertEquals(project.read("out/test/_kept/a/1/thesis.tex"), "my thesis");
  assertEquals(project.read("moved"), "a file of mine");
});

Deno.test("run() keeps the folder of an edited output as a whole, but not what stages wrote alone", async () => {
  using project = makeProject();
  await project.run(stagesOf("x"));
  project.write("out/test/a/more/copy.txt", "edited");
  project.write("out/test/a/more/note.txt", "a note");
  Deno.symlinkSync("/etc/hostname", project.path("out/test/a/link"));
  const { summary, events } = await project.run(stagesOf("x"));
  assertEquals(summary.restored, 1);
  const kept = filesBelow(project.path("out/test/_kept"));
  assertEquals(kept, [
    "a/1/link",
    "a/1/more/copy.txt",
    "a/1/more/note.txt",
    "a/1/out.txt",
  ]);
  const counts = events.flatMap((it) => it.type === "kept" ? [it.files] : []);
  assertEquals(counts, [3]);
  assertEquals((await project.run(stagesOf("y"))).summary.ran, 2);
  assertEquals((await project.run(stagesOf("x"))).summary.restored, 2);
  assertEquals(filesBelow(project.path("out/test/_kept")), kept);
});

Deno.test("run() takes no output of an earlier run with --force for the user's, whichever folder shows it", async () => {
  using project = new TestProject();
  project.task("vary", "return crypto.randomUUID();");
  const graph = { a: { task: "vary" }, b: { task: "vary" } };
  const force = new Set(["a"]);
  await project.run(graph);
  const made: string[] = [];
  for (let i = 0; i < 2; i++) {
    const { summary } = await project.run({ a: graph.a }, { force });
    assertEquals(summary.ran, 1);
    made.push(project.read("out/test/a/out.txt"));
  }
  assert(made[0] !== made[1]);
  // Its folder shows the first result of the same key.
  const { summary } = await project.run(graph);
  assertEquals([summary.unchanged, summary.restored], [1, 1]);
  assertEquals(project.read("out/test/b/out.txt"), made[1]);
  assertEquals(filesBelow(project.path("out/test")), [
    "a/out.txt",
    "b/out.txt",
  ]);
});

Deno.test("run() keeps a file or link of the user that has the name of an output folder", async () => {
  using project = makeProject();
  project.write("out/test/a", "not a folder");
  project.write("elsewhere/b.txt", "far away");
  Deno.symlinkSync(project.path("elsewhere"), project.path("out/test/b"));
  assertEquals((await project.run(stagesOf("x"))).summary.ran, 2);
  assertEquals(project.read("out/test/_kept/a/1/a"), "not a folder");
  assertEquals(project.read("out/test/_kept/b/1/b/b.txt"), "far away");
  assertEquals(project.read("elsewhere/b.txt"), "far away");
});

/** Paths of all files and links below a folder, sorted. */
function filesBelow(folder: string, below = ""): string[] {
  return [...Deno.readDirSync(join(folder, below))].flatMap(
    ({ name, isDirectory }) => {
      const path = join(below, name);
      return isDirectory ? filesBelow(folder, path) : [path];
    },
  ).sort();
}

/** Contents of all files below a folder. */
function textsBelow(folder: string): Set<string> {
  return new Set(
    filesBelow(folder).map((path) => Deno.readTextFileSync(join(folder, path))),
  );
}

/**
 * Names that the cache gives to what it removes; only a file with such a name
 * in the right folder is its own.
 */
const NAMES = [
  "out.txt",
  "more/copy.txt",
  "note.txt",
  "deep/in/here.md",
  ".hidden",
  "x.1-01234567-0.tmp",
];

const FOLDERS = [
  "test",
  "test/a",
  "test/b",
  "test/b/more",
  "test/.b.mine",
  "test/old-stage",
  "test/_kept/a/1",
  "other/a",
  "cache",
  "cache/blobs",
  "cache/blobs/ab",
  "cache/runs",
  "cache/runs/mine",
  "cache/locks",
  "cache/checkpoints/mine",
  "cache/failures/test",
  "cache/incoming/mine",
  "cache/manifests/ab",
];

Deno.test("run() and cleanUp() lose no file below out/ that they have not written", async () => {
  using project = makeProject();
  const random = new Random(15);
  const mine = new Set<string>();
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 25; i++) {
      const path = project.path(
        "out",
        random.pick(FOLDERS),
        random.pick(NAMES),
      );
      const text = `file ${round}.${i} of the user`;
      try {
        Deno.mkdirSync(dirname(path), { recursive: true });
        if (mine.has(readIfThere(path) ?? "")) continue;
      } catch (error) {
        // A file of the user stands where the folder would be.
        if (!(error instanceof Deno.errors.NotADirectory)) throw error;
        continue;
      }
      Deno.writeTextFileSync(path, text);
      mine.add(text);
    }
    const { summary, events } = await project.run(
      stagesOf(random.pick(["x", "y"])),
      { force: new Set(random.chance(0.5) ? ["a"] : []) },
    );
    assertEquals(summary.failed + summary.skipped, 0, JSON.stringify(events));
    if (random.chance(0.5)) {
      assert(await cleanUp(new Store(project.path("out/cache")), 0));
    }
    const left = textsBelow(project.path("out"));
    assertEquals([...mine].filter((text) => !left.has(text)), []);
  }
  assert(mine.size > 50);
});

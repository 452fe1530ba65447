import { assertEquals } from "@std/assert";
import { TestProject } from "./project.ts";

/**
 * A folder of another file system than that of temporary files, on most
 * machines with Linux.
 */
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
  "run() shows and restores outputs in a folder on another disk",
  { ignore: !isElsewhere() },
  async () => {
    using project = new TestProject();
    project.task("shown", "return 'shown';");
    const stages = { a: { task: "shown" } };
    const elsewhere = Deno.makeTempDirSync({ dir: OTHER });
    try {
      Deno.mkdirSync(project.path("out"));
      Deno.symlinkSync(elsewhere, project.path("out/test"));
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

/**
 * Runs a stage that calls a shell with its output folder as `$1` and its
 * checkpoints as `$2`; returns the messages of its failures.
 */
async function failuresOf(
  project: TestProject,
  script: string,
): Promise<string[]> {
  project.task(
    "shell",
    `const args = ["-c", params.script, "sh", stage.output, stage.checkpoint];
     const { success } = new Deno.Command("sh", { args }).outputSync();
     if (!success) throw new Error("The shell failed");
     stage = { ...stage, output: Deno.env.get("TMPDIR") };
     return "made";`,
    { rest: 'permissions: { run: ["sh"], env: ["TMPDIR"] },' },
  );
  const stages = { shell: { task: "shell", params: { script } } };
  const { events } = await project.run(stages);
  return events.flatMap((it) => it.type === "failed" ? [it.message] : []);
}

Deno.test("run() refuses an output folder that became a link or a file, and changes nothing outside", async () => {
  using project = new TestProject();
  project.write("outside/secret.txt", "secret");
  Deno.chmodSync(project.path("outside/secret.txt"), 0o600);
  for (
    const [script, what] of [
      [`ln -s '${project.path("outside")}' "$1"`, "symbolic link"],
      ['ln -s "$2" "$1"', "symbolic link"],
      ['echo > "$1"', "file"],
    ] as const
  ) {
    assertEquals(await failuresOf(project, `rm -r "$1"; ${script}`), [
      `The stage replaced its output folder by a ${what}; the task must write its files into the folder`,
    ]);
  }
  const { mode } = Deno.statSync(project.path("outside/secret.txt"));
  assertEquals(mode! & 0o777, 0o600);
});

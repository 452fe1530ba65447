import { assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { GROUPS, outcomesOf } from "./run.ts";

const TESTS = fileURLToPath(new URL(".", import.meta.url));
const ROOT = dirname(TESTS.replace(/\/$/, ""));

/** Runs `deno task test` on test files of its own, by group. */
async function runTests(
  files: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly lines: readonly string[] }> {
  const folder = await Deno.makeTempDir({ prefix: "tests of tests " });
  try {
    await Deno.mkdir(join(folder, "tests"));
    for (const file of ["run.ts", "lines.ts", "ignored.ts"]) {
      await Deno.copyFile(join(TESTS, file), join(folder, "tests", file));
    }
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(join(folder, dirname(path)), { recursive: true });
      await Deno.writeTextFile(join(folder, path), text);
    }
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", join(folder, "tests/run.ts"), ...args],
      stderr: "null",
    }).output();
    const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
    return { code, lines };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const PASSING = `Deno.test("adds", () => {});`;

Deno.test("deno task test runs every group to its end, and names what failed with the command that runs it alone", async () => {
  const { code, lines } = await runTests(
    {
      "tests/engine/a_test.ts": `Deno.test("isn't right", async (t) => {
      await t.step("within", () => { throw new Error("no"); });
    });
    Deno.test("is right", () => {});`,
      "tests/tasks/b_test.ts": PASSING,
      "tests/scheduler/c_test.ts":
        `Deno.test({ name: "not here", ignore: true, fn() {} });`,
    },
    "engine",
    "tasks",
    "scheduler",
  );
  assertEquals(code, 1);
  assertEquals(lines.slice(-3), [
    "FAILED  tests/engine/a_test.ts: isn't right",
    "        deno test -A tests/engine/a_test.ts --filter 'isn'\\''t right'",
    "2 passed, 1 failed, 1 skipped",
  ]);
});

Deno.test("deno task test counts a process that could not load its tests as a failure", async () => {
  const { code, lines } = await runTests(
    {
      "tests/engine/a_test.ts": `import "./missing.ts";`,
      "tests/tasks/b_test.ts": PASSING,
    },
    "engine",
    "tasks",
  );
  assertEquals(code, 1);
  assertEquals(lines.slice(-3), [
    "FAILED  the process of engine (exit code 1)",
    "        deno task test engine",
    "1 passed, 1 failed, 0 skipped",
  ]);
  assertStringIncludes(lines.join("\n"), "missing.ts");
});

Deno.test("deno task test exits with 0 if nothing failed, and with --strict fails for a test that may not be ignored", async () => {
  const files = {
    "tests/engine/a_test.ts":
      `Deno.test({ name: "not here", ignore: true, fn() {} });`,
  };
  const lenient = await runTests(files, "engine");
  assertEquals(lenient.code, 0);
  assertEquals(lenient.lines.at(-1), "0 passed, 0 failed, 1 skipped");
  const strict = await runTests(files, "--strict", "engine");
  assertEquals(strict.code, 1);
  assertEquals(strict.lines.slice(-3), [
    "FAILED  tests/engine/a_test.ts: not here was ignored",
    "        deno test -A tests/engine/a_test.ts --filter 'not here'",
    "0 passed, 1 failed, 1 skipped",
  ]);
});

Deno.test("deno task test says for an unknown group which there are", async () => {
  const { code } = await runTests({}, "engin");
  assertEquals(code, 2);
});

Deno.test("outcomesOf() reads names with the characters that XML escapes", () => {
  const report =
    `<testcase name="a &lt;b&gt; &amp; &quot;c&quot;" classname="./tests/x_test.ts" time="0"></testcase>`;
  assertEquals(outcomesOf(report), [
    { file: "tests/x_test.ts", name: 'a <b> & "c"', state: "passed" },
  ]);
});

Deno.test("each file of tests is in one group", () => {
  const files: string[] = [];
  const search = (folder: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(folder)) {
      const path = join(folder, name);
      if (isDirectory) search(path);
      else if (/[._]test\.(ts|js|mjs|tsx)$/.test(name)) {
        files.push(relative(ROOT, path));
      }
    }
  };
  search(TESTS);
  const isIn = (file: string, paths: readonly string[] = []) =>
    paths.some((path) => file === path || file.startsWith(`${path}/`));
  const groupsOf = (file: string) =>
    Object.values(GROUPS).filter(({ paths, without }) =>
      isIn(file, paths) && !isIn(file, without)
    ).length;
  assertEquals(files.filter((file) => groupsOf(file) !== 1), []);
});

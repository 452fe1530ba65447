import { assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "@std/yaml";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

function textOf(path: string): string {
  return Deno.readTextFileSync(join(root, path));
}

Deno.test("deno task hooks lets the gate decide on each push, and nothing does before", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const clone = join(folder, "clone");
    const calls = join(folder, "calls");
    const run = async (program: string, ...args: string[]) => {
      const { success } = await new Deno.Command(program, {
        args,
        cwd: clone,
        env: {
          PATH: `${join(folder, "bin")}:${Deno.env.get("PATH")}`,
          GIT_CONFIG_GLOBAL: "/dev/null",
        },
        stdout: "null",
        stderr: "null",
      }).output();
      return success;
    };
    for (const path of ["bin", "clone/.github/hooks"]) {
      await Deno.mkdir(join(folder, path), { recursive: true });
    }
    // Without the packages, which "deno task" would install in the clone.
    const { tasks } = JSON.parse(textOf("deno.json"));
    const settings = JSON.stringify({ tasks });
    await Deno.writeTextFile(join(clone, "deno.json"), settings);
    const hook = ".github/hooks/pre-push";
    await Deno.copyFile(join(root, hook), join(clone, hook));
    /** A `deno` whose gate ends with an exit code. */
    const gate = (code: number) =>
      Deno.writeTextFile(
        join(folder, "bin/deno"),
        `#!/bin/sh\necho "$@" >>"${calls}"\nexit ${code}\n`,
        { mode: 0o755 },
      );
    await gate(1);
    await run("git", "init", "--quiet", "--bare", join(folder, "remote"));
    await run("git", "init", "--quiet", "--initial-branch", "main");
    const commit = [
      ...["-c", "user.name=name", "-c", "user.email=name@localhost"],
      ...["commit", "--quiet", "--allow-empty", "--message", "message"],
    ];
    const push = ["push", "--quiet", join(folder, "remote"), "main"];
    await run("git", ...commit);
    assertEquals(await run("git", ...push), true);

    assertEquals(await run(Deno.execPath(), "task", "hooks"), true);
    await run("git", ...commit);
    assertEquals(await run("git", ...push), false);
    await gate(0);
    assertEquals(await run("git", ...push), true);
    assertEquals(await Deno.readTextFile(calls), "task ok\ntask ok\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the jobs of the workflow run each part of .ci/run once", async () => {
  interface Job {
    readonly strategy?: { readonly matrix: { readonly part: string[] } };
    readonly steps: readonly { readonly run?: string }[];
  }
  const { jobs } = parse(textOf(".github/workflows/ci.yml")) as {
    jobs: Record<string, Job>;
  };
  const parts = Object.values(jobs).flatMap(({ strategy, steps }) => {
    const [, words] = /\.ci\/run (.*)$/.exec(steps.at(-1)!.run!)!;
    return strategy === undefined ? words!.split(" ") : strategy.matrix.part;
  });
  const unknown = await new Deno.Command(join(root, ".ci/run"), {
    args: ["everything"],
  }).output();
  assertEquals(unknown.code, 2);
  const [, all] = /expected (.*)\n$/.exec(
    new TextDecoder().decode(unknown.stdout),
  )!;
  assertEquals(
    parts.sort(),
    all!.match(/[\w/]+/g)!.filter((it) => it !== "or").sort(),
  );
});

Deno.test("templates ask for setup --check and a log", () => {
  for (
    const path of [
      "ISSUE_TEMPLATE/bug.md",
      "ISSUE_TEMPLATE/idea.md",
      "PULL_REQUEST_TEMPLATE.md",
    ]
  ) {
    const text = textOf(join(".github", path));
    assertStringIncludes(text, "deno task setup --check");
    assertStringIncludes(text, "deno task logs PIPELINE STAGE");
  }
});

Deno.test("the changelog has the version in deno.json", () => {
  const { version } = JSON.parse(textOf("deno.json"));
  assertStringIncludes(textOf(".github/CHANGELOG.md"), `\n## ${version}\n`);
});

Deno.test("deno.json names the packages whose build scripts are not needed, so that deno does not ask about them", () => {
  const { npm } = JSON.parse(textOf("deno.lock")) as {
    npm: Record<string, { scripts?: true }>;
  };
  const withScripts = Object.keys(npm).filter((it) => npm[it]!.scripts)
    .map((it) => `npm:${it.replace(/(?!^)@.*$/, "")}`);
  assertEquals(
    JSON.parse(textOf("deno.json")).allowScripts,
    { deny: withScripts.sort() },
  );
});

import { assertEquals, assertMatch } from "@std/assert";
import { readYaml } from "../../lib/pipeline/read.ts";
import { callHere, CliProject } from "../cli/project.ts";
import { withEnvironment } from "../environment.ts";

/** The workflow in the documentation, with its steps. */
interface Workflow {
  readonly jobs: {
    readonly results: {
      readonly steps: readonly {
        readonly run?: string;
        readonly env?: Readonly<Record<string, string>>;
      }[];
    };
  };
}

Deno.test("the commands of the workflow in lib/remote/README.md store results, and take them the next time", async () => {
  const readme = Deno.readTextFileSync(
    new URL("../../lib/remote/README.md", import.meta.url),
  );
  const blocks = [...readme.matchAll(/^```yml\n(name: .*?)^```/gms)];
  const { value } = await readYaml(blocks[0]![1]!);
  const { steps } = (value as unknown as Workflow).jobs.results;
  const commands = steps.flatMap(({ run }) => run ?? []);
  assertEquals(commands.length, 2);
  const [prepare, run] = commands as [string, string];

  using project = new CliProject(
    'name: smoke\nstages: { a: { task: make, with: { text: "one" } } }\n',
  );
  const { makeKey } = await import("../../lib/remote/signature.ts");
  await makeKey(project.path("own.json"));
  const prepared = await new Deno.Command("sh", {
    args: ["-e", "-c", prepare],
    env: {
      KEY: project.read("own.json"),
      RUNNER_TEMP: project.folder,
      GITHUB_ENV: project.path("env"),
    },
  }).output();
  assertEquals(prepared.code, 0);
  const env = Object.fromEntries(
    project.read("env").trim().split("\n").map((it) => it.split("=")),
  );
  const [, task, ...args] = run.trim().split(" ").slice(1);
  const words = [
    task!,
    ...args.map((it) => it === "smoke" ? project.path("test.yaml") : it),
  ];
  const expected = [/^1 of 1 new result stored in/m, /^1 of 1 result from/m];
  for (const text of expected) {
    const { code, stdout } = await withEnvironment(
      {
        ...env,
        DYLORA_REMOTE: `file://${project.path("remote")}`,
        DYLORA_PROFILE: "",
      },
      () =>
        callHere(
          ...words,
          ...["--tasks", project.path("tasks"), "--out", project.path("out")],
        ),
    );
    assertEquals(code, 0);
    assertMatch(stdout, text);
    Deno.removeSync(project.path("out"), { recursive: true });
  }
});

Deno.test("the step of the workflow that keeps a folder keeps the one that its address names", async () => {
  const readme = Deno.readTextFileSync(
    new URL("../../lib/remote/README.md", import.meta.url),
  );
  const [, step] = /^```yml\n(- uses: actions\/cache.*?)^```/ms.exec(readme)!;
  const { value } = await readYaml(step!);
  const [{ with: kept }] = value as unknown as [{
    readonly with: Readonly<Record<string, string>>;
  }];
  const [, address] = /`DYLORA_REMOTE: file:\/\/(\S+)`/.exec(readme)!;
  assertEquals(kept.path, address);
  assertEquals(kept.key, `${kept["restore-keys"]}\${{ github.sha }}`);
});

/** A stage runs what `deno run` runs of the same module. */
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { bundleTasks } from "../../lib/scheduler/bundle.ts";
import { local } from "../../lib/scheduler/executors/local.ts";
import { runTask } from "../../lib/scheduler/run_task.ts";
import { makeStart } from "../../lib/scheduler/runs.ts";
import {
  CONFIG,
  EXCEPTIONS,
  PACKAGES,
  type Program,
  PROGRAMS,
  type Project,
  PROJECTS,
  REFUSALS,
} from "./programs.ts";
import { TestProject } from "./project.ts";

/** End of the module of a task, which is evaluated and does nothing more. */
const TASK = "\nexport default { run() {} };\n";

/** Lines that a module prints, and how it ends. */
interface Printed {
  readonly lines: readonly string[];
  /** What is wrong, if it fails. */
  readonly error: string;
}

/** What a program prints when Deno runs it. */
async function printedByDeno(folder: string, module: string): Promise<Printed> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--no-lock", "--quiet", module],
    cwd: folder,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return {
    lines: linesOf(decoder.decode(stdout)),
    error: decoder.decode(stderr),
  };
}

/** What a program prints when a stage runs it, whose code is its bundle. */
async function printedByStage(
  project: TestProject,
  module: string,
  bundle: string,
): Promise<Printed> {
  const path = Deno.makeTempDirSync({ dir: project.folder, prefix: "run-" });
  const folder = makeStart(join(path, "0"));
  Deno.mkdirSync(join(folder.code, ".."));
  Deno.writeTextFileSync(folder.code, bundle);
  const lines: string[] = [];
  const errors: string[] = [];
  const end = await runTask({
    stage: "task",
    task: "task",
    module,
    project: project.folder,
    permissions: {},
    params: {},
    inputs: {},
    sources: [],
    folder,
    checkpoint: folder.temporary,
    runtimes: new Map(),
    resources: { cpus: 1, gpus: 0, memory: 0 },
    gpus: undefined,
    executor: local,
    grace: 1,
    signal: new AbortController().signal,
    emit(event) {
      if (event.type !== "log") return;
      if (event.stream === "stdout") lines.push(event.line);
      else errors.push(event.line);
    },
  });
  if (end.state !== "done") errors.push(end.message);
  return { lines: linesOf(lines.join("\n")), error: errors.join("\n") };
}

function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

/**
 * What Deno and what stages print of modules of a project, by the path of the
 * module.
 */
async function printedByBoth(
  project: TestProject,
  modules: readonly string[],
): Promise<Map<string, { readonly deno: Printed; readonly stage: Printed }>> {
  const urlOf = (module: string) => pathToFileURL(project.path(module)).href;
  const bundles = await bundleTasks(modules.map(urlOf), project.folder);
  const printed = new Map();
  for (const module of modules) {
    const url = urlOf(module);
    const { text } = bundles.get(url)!;
    const [deno, stage] = await Promise.all([
      printedByDeno(project.folder, module),
      printedByStage(project, url, text),
    ]);
    printed.set(module, { deno, stage });
  }
  return printed;
}

/**
 * Writes programs, each in a folder of its own, and gives the paths of their
 * modules by their names.
 */
function writePrograms(
  project: TestProject,
  programs: Readonly<Record<string, Program>>,
): Map<string, string> {
  project.write("deno.json", JSON.stringify(CONFIG));
  for (const [path, text] of Object.entries(PACKAGES)) {
    project.write(`packages/${path}`, text);
  }
  const modules = new Map<string, string>();
  for (const [name, { files = {}, task }] of Object.entries(programs)) {
    const folder = `program${modules.size}`;
    for (const [path, text] of Object.entries(files)) {
      project.write(`${folder}/${path}`, text);
    }
    const module = `${folder}/task.ts`;
    project.write(module, task + TASK);
    modules.set(name, module);
  }
  return modules;
}

function writeProject(project: TestProject, { config, files }: Project): void {
  project.write("deno.json", JSON.stringify(config));
  for (const [path, text] of Object.entries(files)) {
    project.write(path, path === "tasks/task.ts" ? text + TASK : text);
  }
}

Deno.test("a stage prints what Deno prints of the same program", async (t) => {
  using project = new TestProject();
  const modules = writePrograms(project, PROGRAMS);
  const printed = await printedByBoth(project, [...modules.values()]);
  for (const [name, module] of modules) {
    await t.step(name, () => {
      const { deno, stage } = printed.get(module)!;
      assertEquals(stage, deno);
      assertEquals(deno.error, "");
    });
  }
});

Deno.test("a stage prints what Deno prints of the same project", async (t) => {
  for (const [name, files] of Object.entries(PROJECTS)) {
    await t.step(name, async () => {
      using project = new TestProject();
      writeProject(project, files);
      const module = "tasks/task.ts";
      const printed = await printedByBoth(project, [module]);
      const { deno, stage } = printed.get(module)!;
      assertEquals(stage, deno);
      assertEquals(deno.error, "");
    });
  }
});

Deno.test("lib/scheduler/README.md lists what a stage prints otherwise than Deno", async (t) => {
  using project = new TestProject();
  const readme = Deno.readTextFileSync(
    new URL("../../lib/scheduler/README.md", import.meta.url),
  ).replaceAll(/\s+/g, " ");
  const modules = writePrograms(project, EXCEPTIONS);
  const printed = await printedByBoth(project, [...modules.values()]);
  for (const [name, module] of modules) {
    await t.step(name, () => {
      const { deno, stage } = printed.get(module)!;
      const { stage: expected, listed } = EXCEPTIONS[name]!;
      assertEquals(stage, { lines: [...expected], error: "" });
      assertNotEquals(deno.lines, stage.lines);
      assertEquals(deno.error, "");
      assert(readme.includes(`- ${listed}`), `not listed: ${listed}`);
    });
  }
});

Deno.test("bundleTasks() refuses what a stage cannot run, with its place", async (t) => {
  for (const [name, files] of Object.entries(REFUSALS)) {
    await t.step(name, async () => {
      using project = new TestProject();
      writeProject(project, files);
      const url = pathToFileURL(project.path("tasks/task.ts")).href;
      const { message } = await assertRejects(
        () => bundleTasks([url], project.folder),
        Error,
      );
      assertEquals(message.slice(0, files.message.length), files.message);
    });
  }
});

import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Task } from "../../lib/pipeline/task.ts";
import { bundleTasks } from "../../lib/scheduler/bundle.ts";
import { callMain } from "../cli/project.ts";

const ROOT = join(import.meta.dirname!, "../..");
const TASKS = join(ROOT, "tasks");
const readme = Deno.readTextFileSync(join(TASKS, "README.md"));

/** The code blocks of a language. */
function blocks(language: string): string[] {
  return [
    ...readme.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms")),
  ].map(([, block]) => block!);
}

const [filterData, smooth, ...otherModules] = blocks("ts");
const [shortTexts, ...otherPipelines] = blocks("yaml");
assertEquals([...otherModules, ...otherPipelines], []);

/** Names in backticks, without marks of optional and repeated inputs. */
const namesIn = (cell: string) =>
  [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);

Deno.test("tasks/README.md lists every task with its inputs, its output and parameters that it has", async () => {
  const rows = [...readme.matchAll(/^\| `([a-z-]+)` +\|(.*)\|(.*)\|(.*)\|$/gm)];
  const modules = [...Deno.readDirSync(TASKS)].map(({ name }) => name)
    .filter((name) => name.endsWith(".ts"));
  assertEquals(
    rows.map(([, name]) => `${name}.ts`).sort(),
    modules.sort(),
  );
  for (const [, name, takes, gives, parameters] of rows) {
    const { default: task }: { default: Task } = await import(
      pathToFileURL(join(TASKS, `${name}.ts`)).href
    );
    const inputs = Object.entries(task.inputs).map(([input, declared]) =>
      `${input}${declared.optional ? "?" : ""}${
        declared.many ? "*" : ""
      }: ${declared.kind}`
    );
    assertEquals(namesIn(takes!).join(), inputs.join(", "), name);
    assertEquals(namesIn(gives!), [task.output.kind], name);
    for (const parameter of namesIn(parameters!)) {
      assert(parameter in task.params.shape, `${name} has no "${parameter}"`);
    }
  }
});

Deno.test("tasks/README.md adds a task that runs in its pipeline", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const tasks = join(folder, "tasks");
    await Deno.mkdir(tasks);
    const example = filterData!;
    assert(example.trim().split("\n").length <= 32);
    const modules = {
      "fetch-glue": await Deno.readTextFile(join(TASKS, "fetch-glue.ts")),
      "filter-data": example,
    };
    for (const [name, text] of Object.entries(modules)) {
      await Deno.writeTextFile(
        join(tasks, `${name}.ts`),
        text.replaceAll('"../lib/', `"${pathToFileURL(ROOT)}/lib/`),
      );
    }
    const file = join(folder, "short-texts.yaml");
    await Deno.writeTextFile(file, shortTexts!);
    const out = join(folder, "out");
    const { code, stdout, stderr } = await callMain(
      ...["pipeline", file, "--tasks", tasks, "--out", out],
    );
    assertEquals(code, 0, stdout + stderr);
    const lines = (stage: string) =>
      Deno.readTextFileSync(join(out, "short-texts", stage, "train.jsonl"))
        .trim().split("\n");
    assert(lines("short").length < lines("data").length);
    for (const line of lines("short")) {
      assertMatch(JSON.parse(line).text, /^\S+( \S+){0,7}$/);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("tasks/README.md adds a task that computes with tfjs, which runs as a stage on libtensorflow", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const tasks = join(folder, "tasks");
    await Deno.mkdir(tasks);
    await Deno.writeTextFile(
      join(tasks, "smooth.ts"),
      smooth!.replaceAll('"../lib/', `"${pathToFileURL(ROOT)}/lib/`),
    );
    const file = join(folder, "smoothed.yaml");
    await Deno.writeTextFile(
      file,
      "name: smoothed\ndescription: Smooth a series\nstages:\n" +
        "  smooth: { task: smooth, with: { series: [0, 3, 6, 0, 0] } }\n",
    );
    const out = join(folder, "out");
    const { code, stdout, stderr } = await callMain(
      ...["pipeline", file, "--tasks", tasks, "--out", out],
      ...["--engine", "tensorflow"],
    );
    assertEquals(code, 0, stdout + stderr);
    const written = join(out, "smoothed", "smooth", "series.json");
    assertEquals(
      JSON.parse(Deno.readTextFileSync(written)).map(Math.fround),
      [1, 3, 3, 2, 0].map(Math.fround),
    );
    // The task and the kernels share one copy of tfjs-core.
    const module = pathToFileURL(join(tasks, "smooth.ts")).href;
    const bundle = (await bundleTasks([module], ROOT)).get(module)!.text;
    assertEquals(bundle.match(/^\/\/ .*\/tfjs-core\/.*$/gm)?.length, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

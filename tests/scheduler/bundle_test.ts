import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { sectionsOf } from "../../lib/scheduler/bundle.ts";
import { taskCode } from "../../lib/scheduler/context.ts";
import { Store } from "../../lib/store/store.ts";
import { TestProject } from "./project.ts";

/**
 * Writes modules and returns the bundle of `tasks/t.ts`, which is found as a
 * run finds it: by the memo, if nothing has changed.
 */
async function bundleOf(
  project: TestProject,
  modules: Record<string, string> = {},
): Promise<string> {
  for (const [path, text] of Object.entries(modules)) project.write(path, text);
  const task = pathToFileURL(project.path("tasks/t.ts")).href;
  const store = new Store(project.path("out/cache"));
  const code = await taskCode([task], project.folder, store);
  await store.memo.save();
  return (await store.blobs.text(code.get(task)!.bundle))!;
}

const TASK = `import { double } from "../lib/double.ts";
import type { Shape } from "../lib/shape.ts";
import { type Only } from "../lib/only.ts";
import { Elided } from "../lib/elided.ts";
export default { async run(shape: Shape, only: Only, elided: Elided) {
  const { late } = await import("../lib/late.ts");
  return double(late) + \`  kept  \${shape}\` + only + elided;
} };
`;

const PROJECT = {
  "deno.json": "{}",
  "tasks/t.ts": TASK,
  "lib/double.ts":
    "export function double(x: number): number {\n  return 2 * x;\n}\n",
  "lib/late.ts":
    "import table from './table.json' with { type: 'json' };\nexport const late = table.value;\n",
  "lib/table.json": '{ "value": 1 }',
  "lib/shape.ts": "export type Shape = string; export const unused = 1;",
  "lib/only.ts": "export type Only = string; export const unused = 1;",
  "lib/elided.ts": "export interface Elided { x: 1 }; export const unused = 1;",
};

Deno.test("taskCode() ignores comments, formatting, types and unused functions", async () => {
  const double = PROJECT["lib/double.ts"];
  const edits: Record<string, Record<string, string>> = {
    comment: { "lib/double.ts": `// new\n${double}/* end */` },
    "comment in an expression": {
      "lib/double.ts": double.replace("2 *", "2 * /* twice */"),
    },
    formatting: {
      "lib/double.ts":
        "export function double(x: number): number { return (2 *\n x) }",
    },
    type: { "lib/double.ts": double.replace("x: number", "x: any") },
    "a new type": { "lib/double.ts": `interface New { a: 1 }\n${double}` },
    "a module of types": {
      "lib/shape.ts": "export type Shape = number; export const unused = 2;",
    },
    "a module imported for a type": {
      "lib/elided.ts":
        "export interface Elided { y: 1 }; export const unused = 2;",
    },
    "an unused function": {
      "lib/double.ts": `${double}export const half = (x: number) => x / 2;`,
    },
    quotes: {
      "lib/late.ts":
        'import table from "./table.json" with { type: "json" }\nexport const late = table.value',
    },
    "a module that is not imported": {
      "lib/other.ts": "export const other = 1;",
    },
    "a setting of the checker": {
      "deno.json": '{"compilerOptions":{"strict":true}}',
    },
  };
  using project = new TestProject();
  const before = await bundleOf(project, PROJECT);
  for (const [name, edit] of Object.entries(edits)) {
    const after = await bundleOf(project, { ...PROJECT, ...edit });
    assertEquals(after, before, name);
  }
});

Deno.test("taskCode() notices changes of behaviour", async () => {
  const double = PROJECT["lib/double.ts"];
  const edits: Record<string, Record<string, string>> = {
    constant: { "lib/double.ts": double.replace("2", "3") },
    "a statement that has an effect": {
      "lib/double.ts": double + "globalThis.x = 1;",
    },
    "white space in a template": {
      "tasks/t.ts": TASK.replace("  kept  ", " kept "),
    },
    "a module loaded late": {
      "lib/late.ts": PROJECT["lib/late.ts"].replace("value;", "value + 1;"),
    },
    data: { "lib/table.json": '{ "value": 2 }' },
    "a new import for its effects": {
      "lib/shape.ts": "globalThis.y = 1;",
      "lib/double.ts": `import {} from "./shape.ts";\n${double}`,
    },
    "another effect of that module": {
      "lib/shape.ts": "globalThis.y = 2;",
      "lib/double.ts": `import {} from "./shape.ts";\n${double}`,
    },
    "a value reached by another path": {
      "deno.json": '{"imports":{"./lib/double.ts":"./lib/twice.ts"}}',
      "lib/twice.ts": double + "globalThis.z = 1;",
    },
    "an edit of the import map": {
      "deno.json": '{"importMap":"map.json"}',
      "map.json": '{"imports":{"./lib/double.ts":"./lib/twice.ts"}}',
      "lib/twice.ts": double + "globalThis.z = 2;",
    },
  };
  using project = new TestProject();
  const bundles = new Set([await bundleOf(project, PROJECT)]);
  for (const [name, edit] of Object.entries(edits)) {
    const after = await bundleOf(project, { ...PROJECT, ...edit });
    assert(!bundles.has(after), name);
    bundles.add(after);
  }
});

Deno.test("taskCode() notices a change within the same second, with the same size and mtime", async () => {
  using project = new TestProject();
  const before = await bundleOf(project, PROJECT);
  const path = project.path("lib/double.ts");
  const { mtime, atime } = Deno.statSync(path);
  project.write("lib/double.ts", PROJECT["lib/double.ts"].replace("2", "3"));
  Deno.utimeSync(path, atime!, mtime!);
  assertNotEquals(await bundleOf(project), before);
});

Deno.test("taskCode() does not depend on where the project and the tasks are", async () => {
  using one = new TestProject();
  using other = new TestProject();
  assertEquals(await bundleOf(one, PROJECT), await bundleOf(other, PROJECT));
  const store = new Store(one.path("out/cache"));
  const bundles = [];
  for (let round = 0; round < 2; round++) {
    using outside = new TestProject();
    outside.write("lib/one.ts", "export const one = 1;");
    outside.write(
      "tasks/t.ts",
      'import { one } from "../lib/one.ts"; export default { run: () => one };',
    );
    const task = pathToFileURL(outside.path("tasks/t.ts")).href;
    const code = await taskCode([task], one.folder, store);
    bundles.push(code.get(task)!.bundle);
  }
  assertEquals(bundles[0], bundles[1]);
});

Deno.test("taskCode() gives two tasks that import each other different bundles", async () => {
  using project = new TestProject();
  project.write("deno.json", "{}");
  const tasks = ["a", "b"].map((name) => {
    const other = name === "a" ? "b" : "a";
    project.write(
      `tasks/${name}.ts`,
      `import * as other from "./${other}.ts"; export default { run: () => other };`,
    );
    return pathToFileURL(project.path(`tasks/${name}.ts`)).href;
  });
  const store = new Store(project.path("out/cache"));
  const code = await taskCode(tasks, project.folder, store);
  assertNotEquals(code.get(tasks[0]!)!.bundle, code.get(tasks[1]!)!.bundle);
});

Deno.test("taskCode() bundles JSX and texts", async () => {
  using project = new TestProject();
  project.write("lib/jsx.tsx", "export const element = <a b='1' />;");
  project.write("lib/note.txt", "a note");
  const bundle = await bundleOf(project, {
    "deno.json": JSON.stringify({
      compilerOptions: { jsx: "react-jsx", jsxImportSource: "one" },
      imports: { "one/jsx-runtime": "./lib/one.ts" },
    }),
    "lib/one.ts": "export const jsx = () => 'made'; export const jsxs = jsx;",
    "tasks/t.ts": `import { element } from "../lib/jsx.tsx";
import note from "../lib/note.txt" with { type: "text" };
export default { run: () => [element, note] };`,
  });
  assertStringIncludes(bundle, '"a note"');
  assertStringIncludes(bundle, '"made"');
});

Deno.test("taskCode() rejects what it cannot bundle, with its place", async () => {
  const cases = [
    ['import "../lib/none.ts";', "none.ts"],
    ["export default\n1 +;", "tasks/t.ts:2:4"],
    ['import { x } from "nowhere"; x;', "nowhere"],
  ] as const;
  for (const [text, message] of cases) {
    using project = new TestProject();
    await assertRejects(
      () => bundleOf(project, { "tasks/t.ts": text }),
      Error,
      message,
    );
  }
});

Deno.test("an edit of a package runs only with a new key", async () => {
  using project = new TestProject();
  project.write("deno.json", '{"imports":{"long":"npm:long@4.0.0"}}');
  project.write(
    "tasks/t.ts",
    'import Long from "long";\nexport default { run: () => Long.fromNumber(1) };',
  );
  const before = await bundleOf(project);
  assert(sectionsOf(before).some(({ module }) => module === "long@4.0.0"));
  const path = join(
    project.path("node_modules/.deno/long@4.0.0/node_modules/long"),
    "src/long.js",
  );
  const text = Deno.readTextFileSync(path);
  // Not written in place: the file is a link to Deno's own copy.
  Deno.removeSync(path);
  Deno.writeTextFileSync(path, `${text}\nglobalThis.edited = true;`);
  assertEquals(await bundleOf(project), before);
  const task = project.read("tasks/t.ts");
  const after = await bundleOf(project, {
    "tasks/t.ts": task.replace("(1)", "(2)"),
  });
  assertStringIncludes(after, "globalThis.edited");
});

Deno.test("run() logs stack traces with the places of the source files", async () => {
  using project = new TestProject();
  project.write(
    "lib/fail.ts",
    '// A comment\nexport function fail(): never {\n  throw new TypeError("wrong");\n}\n',
  );
  project.task("t", "fail();", {
    head: 'import { fail } from "../lib/fail.ts";',
  });
  const { events } = await project.run({ t: { task: "t" } });
  const lines = events.flatMap((it) => it.type === "log" ? [it.line] : []);
  const place = pathToFileURL(project.path("lib/fail.ts")).href;
  assertStringIncludes(lines.join("\n"), `at fail (${place}:3:9)`);
});

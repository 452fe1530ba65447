import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { pathToFileURL } from "node:url";
import { type CodeListing, taskCode } from "../../lib/scheduler/code.ts";
import { Store } from "../../lib/store/store.ts";
import { TestProject } from "./project.ts";

/** Writes modules and returns the digest of the code of `tasks/t.ts`. */
async function codeOf(
  project: TestProject,
  modules: Record<string, string> = {},
): Promise<string> {
  for (const [path, text] of Object.entries(modules)) project.write(path, text);
  const task = pathToFileURL(project.path("tasks/t.ts")).href;
  const store = new Store(project.path("out/cache"));
  const code = await taskCode([task], project.folder, store);
  await store.saveStats();
  return code.get(task)!.listing;
}

async function listingOf(
  project: TestProject,
  modules: Record<string, string>,
): Promise<CodeListing> {
  const listing = await codeOf(project, modules);
  return JSON.parse(new Store(project.path("out/cache")).blobs.text(listing)!);
}

const TASK = `import { double } from "../lib/double.ts";
import type { Shape } from "../lib/shape.ts";
import { type Only } from "../lib/only.ts";
import { Elided } from "../lib/elided.ts";
export default async (shape: Shape, only: Only, elided: Elided) => {
  const { late } = await import("../lib/late.ts");
  return double(late) + \`  kept  \${shape}\` + only + elided;
};
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

Deno.test("taskCode() lists the modules that a task's process loads, without those imported as types", async () => {
  using project = new TestProject();
  const { modules } = await listingOf(project, PROJECT);
  assertEquals(Object.keys(modules).sort(), [
    "lib/double.ts",
    "lib/late.ts",
    "lib/table.json",
    "scheduler/child.ts",
    "tasks/t.ts",
  ]);
});

Deno.test("taskCode() names modules outside the project relative to the folder of the task", async () => {
  using project = new TestProject();
  project.write("deno.json", "{}");
  const store = new Store(project.path("out/cache"));
  const listings = [];
  for (let round = 0; round < 2; round++) {
    using outside = new TestProject();
    outside.write("lib/one.ts", "export const one = 1;");
    outside.write("tasks/t.ts", 'export { one } from "../lib/one.ts";');
    const task = pathToFileURL(outside.path("tasks/t.ts")).href;
    const code = await taskCode([task], project.folder, store);
    listings.push(code.get(task)!.listing);
  }
  assertEquals(listings[0], listings[1]);
  const { entry, modules }: CodeListing = JSON.parse(
    store.blobs.text(listings[0]!)!,
  );
  assertEquals(entry, "task:t.ts");
  assertEquals(Object.keys(modules).sort(), [
    "scheduler/child.ts",
    "task:../lib/one.ts",
    "task:t.ts",
  ]);
});

Deno.test("taskCode() ignores comments, formatting and types", async () => {
  const edits: Record<string, Record<string, string>> = {
    comment: {
      "lib/double.ts": `// new\n${PROJECT["lib/double.ts"]}/* end */`,
    },
    "comment in an expression": {
      "lib/double.ts":
        "export function double(x: number): number {\n  return 2 * /* twice */ x;\n}\n",
    },
    formatting: {
      "lib/double.ts":
        "export function double(x: number): number { return (2 *\n x) }",
    },
    type: {
      "lib/double.ts": "export function double(x: any) {\n  return 2 * x;\n}\n",
    },
    "a new type": {
      "lib/double.ts": `interface New { a: 1 }\n${PROJECT["lib/double.ts"]}`,
    },
    "a module of types": {
      "lib/shape.ts": "export type Shape = number; export const unused = 2;",
    },
    "a module imported for a type": {
      "lib/elided.ts":
        "export interface Elided { y: 1 }; export const unused = 2;",
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
  const before = await codeOf(project, PROJECT);
  for (const [name, edit] of Object.entries(edits)) {
    assertEquals(await codeOf(project, { ...PROJECT, ...edit }), before, name);
  }
});

Deno.test("taskCode() notices changes of behaviour", async () => {
  const double = PROJECT["lib/double.ts"];
  const edits: Record<string, Record<string, string>> = {
    constant: { "lib/double.ts": double.replace("2", "3") },
    operator: { "lib/double.ts": double.replace("*", "+") },
    "a statement that has an effect": {
      "lib/double.ts": double + "globalThis.x = 1;",
    },
    "white space in a template": {
      "tasks/t.ts": TASK.replace("  kept  ", " kept "),
    },
    "a comment sign in a string": {
      "lib/late.ts": PROJECT["lib/late.ts"] + "export const s = '// a';",
    },
    "a module loaded late": {
      "lib/late.ts": PROJECT["lib/late.ts"].replace(
        "table.value",
        "table.value + 1",
      ),
    },
    data: { "lib/table.json": '{ "value": 2 }' },
    "a new import for its effects": {
      "lib/shape.ts": "globalThis.y = 1;",
      "lib/double.ts": `import "./shape.ts";\n${double}`,
    },
    "a type import that becomes a value": {
      "tasks/t.ts": TASK.replace(
        "import { Elided }",
        "import { unused, Elided }",
      ).replace("+ elided", "+ unused"),
    },
    "a value reached by another path": {
      "deno.json": '{"imports":{"./lib/double.ts":"./lib/twice.ts"}}',
      "lib/twice.ts": double + "globalThis.z = 1;",
    },
    "a setting that changes emitted code": {
      "deno.json": '{"compilerOptions":{"experimentalDecorators":true}}',
    },
    "order of statements": {
      "lib/table.json": '{ "value": 1 }',
      "lib/double.ts": "let n = 0; n++; n *= 2;\n" + double,
    },
  };
  using project = new TestProject();
  const before = await codeOf(project, PROJECT);
  for (const [name, edit] of Object.entries(edits)) {
    const after = await codeOf(project, { ...PROJECT, ...edit });
    assertNotEquals(after, before, name);
  }
});

Deno.test("taskCode() notices a change within the same second, with the same size and mtime", async () => {
  using project = new TestProject();
  const before = await codeOf(project, PROJECT);
  const path = project.path("lib/double.ts");
  const { mtime, atime } = Deno.statSync(path);
  project.write("lib/double.ts", PROJECT["lib/double.ts"].replace("2", "3"));
  Deno.utimeSync(path, atime!, mtime!);
  assertNotEquals(await codeOf(project), before);
});

Deno.test("taskCode() does not depend on the location of the project", async () => {
  using one = new TestProject();
  using other = new TestProject();
  assertEquals(await codeOf(one, PROJECT), await codeOf(other, PROJECT));
});

Deno.test("taskCode() names packages by version and integrity", async () => {
  using project = new TestProject();
  project.write("deno.json", '{"imports":{"yaml":"npm:yaml@2.9.1"}}');
  const lock = (integrity: string) =>
    JSON.stringify({
      version: "5",
      specifiers: { "npm:yaml@2.9.1": "2.9.1" },
      npm: { "yaml@2.9.1": { integrity, bin: true } },
      workspace: { dependencies: ["npm:yaml@2.9.1"] },
    });
  const task = {
    "tasks/t.ts": 'import { parse } from "yaml";\nexport default parse;',
  };
  const real =
    JSON.parse(Deno.readTextFileSync("deno.lock")).npm["yaml@2.9.1"].integrity;
  const { packages } = await listingOf(project, {
    ...task,
    "deno.lock": lock(real),
  });
  assertEquals(packages, { "yaml@2.9.1": real });
});

Deno.test("taskCode() rejects a missing import and a module that does not parse", async () => {
  using project = new TestProject();
  await assertRejects(
    () => codeOf(project, { "tasks/t.ts": 'import "../lib/none.ts";' }),
    Error,
    "none.ts",
  );
  await assertRejects(
    () => codeOf(project, { "tasks/t.ts": "export default 1 +;" }),
    Error,
    "t.ts",
  );
});

Deno.test("taskCode() rejects computed paths of modules, and names the file", async () => {
  using project = new TestProject();
  for (const path of ["`../lib/${x}.ts`", '"../lib/" + x']) {
    const error = await assertRejects(
      () =>
        codeOf(project, {
          "tasks/t.ts": `export default (x: string) => import(${path});`,
          "lib/a.ts": "export default 1;",
        }),
      Error,
      "import a literal specifier",
    );
    assertStringIncludes(error.message, project.path("tasks/t.ts"));
  }
});

Deno.test("taskCode() lists modules whose import depends on what is known only when the task runs", async () => {
  const sources = [
    'process.env.NODE_ENV === "production" && await import("../lib/a.ts");',
    'process.env.NODE_ENV !== "production" && await import("../lib/a.ts");',
    'typeof window === "object" && await import("../lib/a.ts");',
    'import.meta.main || await import("../lib/a.ts");',
    'export default (options: any) => import("../lib/a.ts", options);',
    'export default (type: string) => import("../lib/a.ts", { with: { type } });',
  ];
  using project = new TestProject();
  project.write("lib/a.ts", "export default 1;");
  const tasks = sources.map((text, i) => {
    project.write(`tasks/t${i}.ts`, text);
    return pathToFileURL(project.path(`tasks/t${i}.ts`)).href;
  });
  const store = new Store(project.path("out/cache"));
  const code = await taskCode(tasks, project.folder, store);
  sources.forEach((text, i) => {
    const { listing } = code.get(tasks[i]!)!;
    const { modules }: CodeListing = JSON.parse(store.blobs.text(listing)!);
    assert("lib/a.ts" in modules, text);
  });
});

/** Forms of import, each of a module that prints when it is evaluated. */
const FORMS = [
  (m: string) => `import "${m}";`,
  (m: string) => `import { T } from "${m}"; const x: T = 1; x;`,
  (m: string) => `import { v } from "${m}"; v;`,
  (m: string) => `import { v } from "${m}";`,
  (m: string) => `import { type T, v } from "${m}"; const x: T = v; x;`,
  (m: string) => `import { type T } from "${m}"; const x: T = 1; x;`,
  (m: string) => `import type { T } from "${m}"; const x: T = 1; x;`,
  (m: string) => `import v from "${m}"; type X = typeof v; const x: X = 1; x;`,
  (m: string) => `import * as ns from "${m}"; const x: ns.T = 1; x;`,
  (m: string) => `import * as ns from "${m}"; ns.v;`,
  (m: string) => `export { v } from "${m}";`,
  (m: string) => `export type { T } from "${m}";`,
  (m: string) => `export * from "${m}";`,
  (m: string) => `export * as ns from "${m}";`,
  (m: string) => `import { v } from "${m}"; export { v };`,
  (m: string) => `await import("${m}");`,
  (m: string) => `let x: import("${m}").T = 1; x;`,
];

Deno.test("taskCode() lists exactly the modules that Deno evaluates, for every form of import", async () => {
  using project = new TestProject();
  const modules: Record<string, string> = {};
  FORMS.forEach((form, i) => {
    modules[`lib/m${i}.ts`] =
      `export type T = number; export const v = 1; export default v; console.log("m${i}");`;
    modules[`lib/f${i}.ts`] = form(`./m${i}.ts`);
  });
  modules["tasks/t.ts"] = FORMS.map((_, i) => `import "../lib/f${i}.ts";`)
    .join("\n");
  const { modules: listed } = await listingOf(project, modules);
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", project.path("tasks/t.ts")],
  }).output();
  const evaluated = new TextDecoder().decode(stdout).trim().split("\n").sort();
  assertEquals(
    Object.keys(listed).flatMap((name) => /lib\/(m\d+)/.exec(name)?.[1] ?? [])
      .sort(),
    evaluated,
  );
  assert(evaluated.length > 5 && evaluated.length < FORMS.length);
});

Deno.test("taskCode() does not reduce JSX, whose comments can change behaviour", async () => {
  using project = new TestProject();
  const text = "export const element = <a b='1' />;";
  const task = { "tasks/t.ts": 'export { element } from "../lib/jsx.tsx";' };
  const config = (from: string) =>
    JSON.stringify({
      compilerOptions: { jsx: "react-jsx", jsxImportSource: from },
      imports: {
        "one/jsx-runtime": "./lib/one.ts",
        "two/jsx-runtime": "./lib/two.ts",
      },
    });
  const runtime = "export const jsx = () => {}; export const jsxs = jsx;";
  const { modules } = await listingOf(project, {
    ...task,
    "deno.json": config("one"),
    "lib/jsx.tsx": text,
    "lib/one.ts": runtime,
    "lib/two.ts": runtime + "globalThis.two = 2;",
  });
  assert("lib/one.ts" in modules);
  const pragma = { "lib/jsx.tsx": `/** @jsxImportSource two */\n${text}` };
  assert("lib/two.ts" in (await listingOf(project, pragma)).modules);
});

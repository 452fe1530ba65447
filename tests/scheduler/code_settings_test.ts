import {
  assertEquals,
  assertIsError,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { pathToFileURL } from "node:url";
import { taskCode } from "../../lib/scheduler/code.ts";
import { asInstalled } from "../../lib/scheduler/project.ts";
import { Store } from "../../lib/store/store.ts";
import { TestProject } from "./project.ts";

/** Writes files, or removes those without a text, and returns the digest of a task's code. */
async function codeOf(
  project: TestProject,
  files: Readonly<Record<string, string | undefined>>,
  name = "t",
): Promise<string> {
  for (const [path, text] of Object.entries(files)) {
    if (text === undefined) Deno.removeSync(project.path(path));
    else project.write(path, text);
  }
  const task = pathToFileURL(project.path(`tasks/${name}.ts`)).href;
  const store = new Store(project.path("out/cache"));
  const code = await taskCode([task], project.folder, store);
  await store.saveStats();
  return code.get(task)!.listing;
}

/** Output of a module when Deno runs it. */
function said(project: TestProject): string {
  const { stdout, stderr } = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--no-lock",
      "--config",
      project.path("deno.json"),
      project.path("tasks/t.ts"),
    ],
  }).outputSync();
  return new TextDecoder().decode(stdout) || new TextDecoder().decode(stderr);
}

const DECORATED = {
  "deno.json": "{}",
  "tasks/t.ts": `import "../lib/plain.js";
function note(...given: any[]) { console.log(given.length); return undefined as any; }
class Noted { @note method(x: number) { return x; } }
`,
  "lib/plain.js": "console.log(this === undefined ? 'no script' : 'script');",
};

Deno.test("taskCode() notices settings in other files than deno.json that change behaviour", async () => {
  const settings: Record<string, Record<string, string>> = {
    "the kind of .js files": { "package.json": '{"type":"commonjs"}' },
    "compiler options": {
      "tsconfig.json": '{"compilerOptions":{"experimentalDecorators":true}}',
    },
  };
  for (const [name, files] of Object.entries(settings)) {
    using project = new TestProject();
    const [before, said1] = [await codeOf(project, DECORATED), said(project)];
    const [after, said2] = [await codeOf(project, files), said(project)];
    assertNotEquals(said1, said2, `${name} changes what the code does`);
    assertNotEquals(before, after, name);
    const gone = Object.fromEntries(
      Object.keys(files).map((path) => [path, undefined]),
    );
    assertEquals(await codeOf(project, gone), before, `${name} taken back`);
  }
});

Deno.test("taskCode() ignores other settings in package.json and tsconfig.json", async () => {
  using project = new TestProject();
  const before = await codeOf(project, {
    ...DECORATED,
    "package.json": '{"version":"1.0.0"}',
    "tsconfig.json": '{"compilerOptions":{"strict":true}}',
  });
  const after = await codeOf(project, {
    "package.json": '{"version":"1.0.1"}',
    "tsconfig.json": '{"compilerOptions":{"strict":false}}',
  });
  assertEquals(after, before);
});

Deno.test("taskCode() rejects sloppy imports", async () => {
  using project = new TestProject();
  const settings = { "deno.json": '{"unstable":["sloppy-imports"]}' };
  assertIsError(
    await assertRejects(() => codeOf(project, { ...DECORATED, ...settings })),
    Error,
    /deno\.json" enables "sloppy-imports", .*; remove it/,
  );
});

Deno.test("taskCode() rejects settings of deno.json that it does not know", async () => {
  for (const name of ["workspace", "links", "patch", "addedByAnotherDeno"]) {
    using project = new TestProject();
    const settings = { "deno.json": `{"${name}":["./lib"]}` };
    assertIsError(
      await assertRejects(() => codeOf(project, { ...DECORATED, ...settings })),
      Error,
      new RegExp(`deno\\.json" has the setting "${name}", .*; remove it`),
    );
  }
});

Deno.test("taskCode() rejects a workspace around the project, whose root could link packages", async () => {
  using outer = new TestProject();
  Deno.mkdirSync(outer.path("project/tasks"), { recursive: true });
  const inner = new TestProject(outer.path("project"));
  outer.write("deno.json", '{"links":["./pkg"],"workspace":["./project"]}');
  assertIsError(
    await assertRejects(() =>
      codeOf(inner, { ...DECORATED, "deno.json": "{}" })
    ),
    Error,
    /has "workspace", and Deno would apply .*; move the project out/,
  );
});

Deno.test("taskCode() rejects settings that refer to further files", async () => {
  const cases: [string, string][] = [
    ["package.json", '{"workspaces":["lib"]}'],
    ["tsconfig.json", '{"extends":"./base.json"}'],
    ["tsconfig.json", '{"files":[],"references":[{"path":"lib"}]}'],
  ];
  for (const [path, text] of cases) {
    using project = new TestProject();
    assertIsError(
      await assertRejects(() =>
        codeOf(project, { ...DECORATED, [path]: text })
      ),
      Error,
      new RegExp(`${path}" has "(workspaces|extends|references)"`),
      text,
    );
  }
});

Deno.test("taskCode() notices an edit of the import map", async () => {
  using project = new TestProject();
  const map = (target: string) =>
    JSON.stringify({ imports: { value: `./lib/${target}.ts` } });
  const before = await codeOf(project, {
    "deno.json": '{"importMap":"map.json"}',
    "map.json": map("one"),
    "lib/one.ts": "export const value = 1;",
    "lib/two.ts": "export const value = 2;",
    "tasks/t.ts": 'export { value } from "value";',
  });
  assertNotEquals(await codeOf(project, { "map.json": map("two") }), before);
});

Deno.test("taskCode() counts types as code when they are emitted as metadata", async () => {
  const task = (type: string) =>
    `function note(...given: any[]) { console.log((Reflect as any).getMetadata?.("design:paramtypes", given[0])); }
export class Noted { @note method(x: ${type}) { return x; } }`;
  for (const emitDecoratorMetadata of [false, true]) {
    using project = new TestProject();
    const compilerOptions = {
      experimentalDecorators: true,
      emitDecoratorMetadata,
    };
    const before = await codeOf(project, {
      "deno.json": JSON.stringify({ compilerOptions }),
      "tasks/t.ts": task("number"),
    });
    const after = await codeOf(project, { "tasks/t.ts": task("string") });
    assertEquals(before !== after, emitDecoratorMetadata);
  }
});

Deno.test("taskCode() differs for two tasks that import each other", async () => {
  using project = new TestProject();
  const files = {
    "deno.json": "{}",
    "tasks/t.ts": 'import "./u.ts"; export default "t";',
    "tasks/u.ts": 'import "./t.ts"; export default "u";',
  };
  assertNotEquals(await codeOf(project, files), await codeOf(project, {}, "u"));
});

/** Modules, and whether they may import packages that they do not name. */
const COMPUTED: readonly (readonly [text: string, all: boolean])[] = [
  ['export default () => import("node:path");', false],
  ["export default () => import(/* why */ 'node:path' /* so */);", false],
  ['export default () => import("node:path", {});', false],
  ["export default (x: string) => import(x);", true],
  ["export default (x: string) => import /* why */ (x);", true],
  ['export default (x: string) => import("yaml" + x);', true],
  ["export default (x: string) => import(`yaml/${x}`);", true],
  ['import { createRequire as c } from "node:module"; export default c;', true],
  ['import * as module from "node:module"; export default module;', true],
  ["export default (x: string) => new Function(x);", true],
  ["export default (x: string) => eval(x);", true],
];

/** Digests of the code of a task for each of {@linkcode COMPUTED}. */
async function computedCode(
  project: TestProject,
  extension: string,
): Promise<string[]> {
  const tasks = COMPUTED.map(([text], i) => {
    project.write(`tasks/t${i}.${extension}`, text);
    return pathToFileURL(project.path(`tasks/t${i}.${extension}`)).href;
  });
  const store = new Store(project.path("out/cache"));
  const code = await taskCode(tasks, project.folder, store);
  return tasks.map((task) => code.get(task)!.listing);
}

const METADATA =
  '{"compilerOptions":{"experimentalDecorators":true,"emitDecoratorMetadata":true}}';

for (
  const [what, extension, config] of [
    ["a module", "ts", "{}"],
    ["a module that counts as written", "ts", METADATA],
    ["a module of JSX", "tsx", "{}"],
  ] as const
) {
  Deno.test(`taskCode() counts all packages when an import of ${what} is computed`, async () => {
    using project = new TestProject();
    project.write("deno.json", config);
    const codeWith = async (version: string) => {
      const entry = { integrity: `sha512-${version}` };
      const lock = { version: "5", npm: { [`yaml@${version}`]: entry } };
      project.write("deno.lock", JSON.stringify(lock));
      return await computedCode(project, extension);
    };
    const [before, after] = [await codeWith("2.9.0"), await codeWith("2.9.1")];
    COMPUTED.forEach(([text, all], i) =>
      assertEquals(before[i] !== after[i], all, text)
    );
  });
}

Deno.test("taskCode() counts packages of JSR and modules of servers, too, when an import is computed", async () => {
  using project = new TestProject();
  const text = "export default (x: string) => import(x);";
  const found = new Set<string>();
  for (
    const more of [
      {},
      { jsr: { "@std/fs@1.0.0": { integrity: "a" } } },
      { jsr: { "@std/fs@1.0.1": { integrity: "b" } } },
      { remote: { "https://localhost/a.ts": "c" } },
    ]
  ) {
    const lock = JSON.stringify({ version: "5", ...more });
    const files = { "deno.json": "{}", "deno.lock": lock, "tasks/t.ts": text };
    found.add(await codeOf(project, files));
  }
  assertEquals(found.size, 4);
});

Deno.test("taskCode() notices that a computed import leads elsewhere, with the same packages", async () => {
  const { npm } = JSON.parse(Deno.readTextFileSync("deno.lock"));
  const names = ["yaml@2.9.1", "zod@4.6.7"];
  const lock = {
    version: "5",
    specifiers: { "npm:yaml@2.9.1": "2.9.1", "npm:zod@4.6.7": "4.6.7" },
    npm: Object.fromEntries(names.map((name) => [name, npm[name]])),
    workspace: { dependencies: names.map((name) => `npm:${name}`) },
  };
  const files = ([one, two]: readonly string[]) => ({
    "deno.json": JSON.stringify({
      imports: { one: `npm:${one}`, two: `npm:${two}` },
    }),
    "deno.lock": JSON.stringify(lock),
  });
  for (const computed of [true, false]) {
    using project = new TestProject();
    const name = computed ? "x" : '"node:path"';
    const text = `export default (x: string) => import(${name});`;
    const before = await codeOf(project, {
      ...files(names),
      "tasks/t.ts": text,
    });
    const after = await codeOf(project, files(names.toReversed()));
    assertEquals(before !== after, computed);
  }
});

Deno.test("taskCode() rejects a computed import of packages without a lock file", async () => {
  using project = new TestProject();
  const text = "export default (x: string) => import(x);";
  assertIsError(
    await assertRejects(() =>
      codeOf(project, { "deno.json": "{}", "tasks/t.ts": text })
    ),
    Error,
    /tasks\/t\.ts" may import packages that it does not name, .*; run "deno install"/,
  );
});

/** Where Deno notes which packages it has linked. */
const INSTALLED = "node_modules/.deno/.setup-cache.bin";

Deno.test("asInstalled() takes packages as they are installed only if no other version fits an import", () => {
  using project = new TestProject();
  const flagsFor = (specifiers: readonly string[], mode = "auto") => {
    project.write("deno.json", JSON.stringify({ nodeModulesDir: mode }));
    const entries = specifiers.map((name) => [name, "1.0.0"]);
    project.write(
      "deno.lock",
      JSON.stringify({ version: "5", specifiers: Object.fromEntries(entries) }),
    );
    return asInstalled(project.folder);
  };
  const exact = ["npm:zod@4.6.7", "npm:@a/b@1.2.3-rc.1", "jsr:@std/fs@1"];
  assertEquals(flagsFor(exact), [], "nothing is installed");
  project.write(INSTALLED, "");
  assertEquals(flagsFor(exact), ["--node-modules-dir=manual"]);
  assertEquals(flagsFor(exact, "none"), []);
  for (const range of ["^1.2.3", "1", "1.2", "*", "1.2.3 - 2", "latest"]) {
    assertEquals(flagsFor([...exact, `npm:a@${range}`]), [], range);
  }
  assertEquals(flagsFor(["npm:a"]), []);
});

Deno.test("taskCode() installs the packages again when others have been installed since", async () => {
  using project = new TestProject();
  const task = pathToFileURL(project.path("tasks/t.ts")).href;
  project.write("tasks/t.ts", "export default 1;");
  project.write(INSTALLED, "one");
  const filesNow = async () => {
    const store = new Store(project.path("out/cache"));
    const code = await taskCode([task], project.folder, store);
    return new Map(code.get(task)!.files).get(project.path(INSTALLED));
  };
  const first = await filesNow();
  project.write(INSTALLED, "other");
  assertNotEquals(await filesNow(), first);
});

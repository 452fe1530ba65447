/**
 * A bundle runs what `deno run` would run of the same task, and every edit of
 * it counts.
 */
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { pathToFileURL } from "node:url";
import { taskCode } from "../../lib/scheduler/context.ts";
import { Store } from "../../lib/store/store.ts";
import { TestProject } from "./project.ts";

/**
 * Writes files, and returns the bundle of `tasks/t.ts` as a run finds it: by
 * the memo, if nothing has changed.
 */
async function bundleOf(
  project: TestProject,
  files: Record<string, string> = {},
): Promise<string> {
  for (const [path, text] of Object.entries(files)) project.write(path, text);
  const task = pathToFileURL(project.path("tasks/t.ts")).href;
  const store = new Store(project.path("out/cache"));
  const code = await taskCode([task], project.folder, store);
  await store.memo.save();
  return (await store.blobs.text(code.get(task)!.bundle))!;
}

/**
 * Lines that a module prints, when it is evaluated and, as one of a bundle,
 * run.
 */
async function printed(
  project: TestProject,
  module: string,
  ...flags: string[]
): Promise<string[]> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--no-lock", "--quiet", ...flags, module],
    cwd: project.folder,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const spec = { events: project.path("events.jsonl"), stdout: "/dev/null" };
  const stdin = process.stdin.getWriter();
  await stdin.write(new TextEncoder().encode(JSON.stringify(spec)));
  await stdin.close();
  const text = new TextDecoder().decode((await process.output()).stdout);
  return text.split("\n").filter((line) => line !== "");
}

/**
 * Lines that both the bundle of `tasks/t.ts` and the task itself print in Deno.
 */
async function sameLines(
  project: TestProject,
  files: Record<string, string>,
): Promise<string[]> {
  project.write("bundle.js", await bundleOf(project, files));
  const alone = ["--no-config", "--no-npm", "--no-remote"];
  const lines = await printed(project, "bundle.js", ...alone);
  assertEquals(lines, await printed(project, "tasks/t.ts"));
  return lines;
}

/** A task that prints a value when it is evaluated. */
function printing(head: string, value: string): string {
  return `${head}\nconsole.log(${value});\nexport default { run() {} };\n`;
}

Deno.test("a bundle takes a name of a built-in module from the import map", async () => {
  using project = new TestProject();
  const files = {
    "deno.json": '{"imports":{"util":"./tk/ev.ts"}, /* A comment. */ }',
    "tk/ev.ts": 'export const inspect = () => "mine";',
    "tasks/t.ts": printing(
      'import { inspect } from "util"; import { inspect as node } from "node:util";',
      'inspect({}), node("a")',
    ),
  };
  assertEquals(await sameLines(project, files), ["mine 'a'"]);
  assertStringIncludes(
    await bundleOf(project, {
      "tk/ev.ts": 'export const inspect = () => "edited";',
    }),
    "edited",
  );
});

Deno.test("packages get the built-in module whatever the import map says", async () => {
  using project = new TestProject();
  const files = {
    "deno.json":
      '{"imports":{"buffer":"./tk/ev.ts","base64-js":"npm:safe-buffer@5.2.1"}}',
    "tk/ev.ts": "export const none = 1;",
    "tasks/t.ts": printing(
      'import safe from "base64-js";',
      'safe.Buffer.from("a").toString("hex")',
    ),
  };
  assertEquals(await sameLines(project, files), ["61"]);
});

Deno.test("taskCode() resolves tasks outside of the project for each project", async () => {
  using one = new TestProject();
  using other = new TestProject();
  using outside = new TestProject();
  for (const [project, text] of [[one, "first"], [other, "second"]] as const) {
    project.write("deno.json", '{"imports":{"which":"./lib/which.ts"}}');
    project.write("lib/which.ts", `export const which = "${text}";`);
  }
  outside.write(
    "tasks/t.ts",
    'import { which } from "which"; export default { run: () => which };',
  );
  const task = pathToFileURL(outside.path("tasks/t.ts")).href;
  for (let round = 0; round < 2; round++) {
    for (
      const [project, text] of [[one, "first"], [other, "second"]] as const
    ) {
      const store = new Store(outside.path("cache"));
      const code = await taskCode([task], project.folder, store);
      await store.memo.save();
      const bundle = await store.blobs.text(code.get(task)!.bundle);
      assertStringIncludes(bundle!, `"${text}"`);
    }
  }
});

Deno.test("taskCode() notices an edit of the configuration of a workspace member", async () => {
  using project = new TestProject();
  const files = {
    "deno.json": '{"workspace":["./mem"]}',
    "mem/deno.json": '{"imports":{"which":"./one.ts"}}',
    "mem/src/mem.ts": 'export { which } from "which";',
    "mem/one.ts": 'export const which = "first";',
    "mem/two.ts": 'export const which = "second";',
    "tasks/t.ts": printing(
      'import { which } from "../mem/src/mem.ts";',
      "which",
    ),
  };
  assertEquals(await sameLines(project, files), ["first"]);
  const edit = { "mem/deno.json": '{"imports":{"which":"./two.ts"}}' };
  assertEquals(await sameLines(project, edit), ["second"]);
});

Deno.test("taskCode() notices edits of linked packages and of their configuration", async () => {
  using project = new TestProject();
  const files = {
    "deno.json": JSON.stringify({
      links: ["./npm", "./jsr"],
      nodeModulesDir: "auto",
      imports: { long: "npm:long@4.0.0", mine: "jsr:@std/mine@1.0.0" },
    }),
    "npm/package.json": '{"name":"long","version":"4.0.0","main":"a.js"}',
    "npm/a.js": 'module.exports = "a" + require("./b");',
    "npm/b.js": 'module.exports = "b";',
    "jsr/deno.json":
      '{"name":"@std/mine","version":"1.0.0","exports":"./src/c.ts"}',
    "jsr/src/c.ts": 'export const mine: string = "c";',
    "jsr/src/d.ts": 'export const mine: string = "d";',
    "tasks/t.ts": printing(
      'import long from "long"; import { mine } from "mine";',
      "long, mine",
    ),
  };
  assertEquals(await sameLines(project, files), ["ab c"]);
  for (
    const [edit, lines] of [
      [{ "npm/b.js": 'module.exports = "B";' }, ["aB c"]],
      [{ "jsr/src/c.ts": 'export const mine: string = "C";' }, ["aB C"]],
      [{
        "jsr/deno.json":
          '{"name":"@std/mine","version":"1.0.0","exports":"./src/d.ts"}',
      }, ["aB d"]],
      [{
        "npm/package.json": '{"name":"long","version":"4.0.0","main":"b.js"}',
      }, ["B d"]],
    ] as const
  ) {
    assertEquals(await sameLines(project, edit), [...lines]);
  }
  // An editor replaces the file, so Deno's copy of the package is another one.
  Deno.removeSync(project.path("npm/b.js"));
  const replaced = { "npm/b.js": 'module.exports = "replaced";' };
  assertEquals(await sameLines(project, replaced), ["replaced d"]);
});

Deno.test("a bundle takes the files of a package that Deno takes", async () => {
  using project = new TestProject();
  const exports = {
    ".": { module: "./m.js", browser: "./b.js", deno: "./d.js" },
    "./node": { browser: "./b.js", node: "./d.js", default: "./m.js" },
    "./required": { import: "./i.js", require: "./r.cjs" },
  };
  const main = { name: "safe-buffer", version: "5.2.1", module: "m.js" };
  const files = {
    "deno.json": JSON.stringify({
      links: ["./long", "./main"],
      nodeModulesDir: "auto",
      imports: {
        long: "npm:long@4.0.0",
        "long/": "npm:/long@4.0.0/",
        main: "npm:safe-buffer@5.2.1",
      },
    }),
    "long/package.json": JSON.stringify(
      { name: "long", version: "4.0.0", type: "module", exports },
    ),
    ...Object.fromEntries(
      ["m", "b", "d", "i"].map((it) => [
        `long/${it}.js`,
        `export default "${it}";`,
      ]),
    ),
    "main/package.json": JSON.stringify(main),
    "main/m.js": 'module.exports = "module";',
    "main/index.js": 'module.exports = require("./extension");',
    "main/extension.ts": 'module.exports = "ts" as string;',
    "main/extension.js": 'module.exports = "js";',
    "tasks/t.ts": printing(
      `import long from "long"; import node from "long/node";
import required from "long/required"; import main from "main";`,
      "long, node, required, main",
    ),
  };
  assertEquals(await sameLines(project, files), ["d d i js"]);
});

/** Forms of import, each of a module that prints when it is evaluated. */
const FORMS = [
  (m: string) => `import "${m}";`,
  (m: string) => `import {} from "${m}";`,
  (m: string) => `import /*c*/ {} from "${m}";`,
  (m: string) => `import { // } from "x"\n} from /* from "y" */ "${m}";`,
  (m: string) => `import { T } from "${m}"; const x: T = 1; x;`,
  (m: string) => `import { v } from "${m}"; v;`,
  (m: string) => `import { v } from "${m}";`,
  (m: string) => `import { type T, v } from "${m}"; const x: T = v; x;`,
  (m: string) => `import { type T } from "${m}"; const x: T = 1; x;`,
  (m: string) => `import type { T } from "${m}"; const x: T = 1; x;`,
  (m: string) => `import type {} from "${m}";`,
  (m: string) => `import v from "${m}"; type X = typeof v; const x: X = 1; x;`,
  (m: string) => `import * as ns from "${m}"; const x: ns.T = 1; x;`,
  (m: string) => `import * as ns from "${m}"; ns.v;`,
  (m: string) => `export { v } from "${m}";`,
  (m: string) => `export {} from "${m}";`,
  (m: string) => `export { type T } from "${m}";`,
  (m: string) => `export type { T } from "${m}";`,
  (m: string) => `export * from "${m}";`,
  (m: string) => `export * as ns from "${m}";`,
  (m: string) => `import { v } from "${m}"; export { v };`,
  (m: string) => `await import("${m}");`,
  (m: string) => `let x: import("${m}").T = 1; x;`,
];

Deno.test("a bundle evaluates the modules that Deno evaluates, for every form of import", async () => {
  for (const verbatimModuleSyntax of [false, true]) {
    using project = new TestProject();
    project.write(
      "deno.json",
      JSON.stringify({ compilerOptions: { verbatimModuleSyntax } }),
    );
    const forms = FORMS.map((form, i) => [form(`./m${i}.ts`), i] as const)
      // As a module of values, it would import a type.
      .filter(([text]) => !(verbatimModuleSyntax && /\{ T }|ns\.T/.test(text)));
    for (const [text, i] of forms) {
      project.write(
        `lib/m${i}.ts`,
        `export type T = number; export const v = 1; export default v; console.log("m${i}");`,
      );
      project.write(`lib/f${i}.ts`, text);
    }
    const imports = forms.map(([, i]) => `import "../lib/f${i}.ts";`);
    const lines = await sameLines(project, {
      "tasks/t.ts": printing(imports.join("\n"), '"end"'),
    });
    assert(lines.length > 5 && lines.length <= forms.length);
  }
});

Deno.test("a bundle leaves texts and comments that look like imports as they are", async () => {
  using project = new TestProject();
  const lines = await sameLines(project, {
    "tasks/t.ts": printing(
      [
        'const text = "import {} from x";',
        "const template = `import {} from ${text} import {} from 'y'`;",
        "const pattern = /import {} from x/;",
        '/* import {} from "none" */ // import {} from "none"',
      ].join("\n"),
      "text, template, pattern.source",
    ),
  });
  assertEquals(lines, [
    "import {} from x import {} from import {} from x import {} from 'y' import {} from x",
  ]);
});

Deno.test("a bundle has a module once for each of its URLs, and as a text", async () => {
  using project = new TestProject();
  const files = {
    "lib/a.ts": 'console.log("a"); export const o: object = {};',
    "lib/c.cjs": "module.exports = [typeof __filename, typeof __dirname];",
    "tasks/t.ts": printing(
      `import * as one from "../lib/a.ts?1";
import * as two from "../lib/a.ts?2";
import text from "../lib/a.ts" with { type: "text" };
import * as a from "../lib/a.ts";
import names from "../lib/c.cjs";`,
      "one.o === two.o, one.o === a.o, text, names",
    ),
  };
  assertEquals((await sameLines(project, files)).length, 4);
  const edit = { "lib/a.ts": files["lib/a.ts"].replace("{}", "{ x: 1 }") };
  assertStringIncludes((await sameLines(project, edit))[3]!, "{ x: 1 }");
});

Deno.test("a bundle does not run what a module does as a program of its own", async () => {
  using project = new TestProject();
  const lines = await sameLines(project, {
    "lib/tool.ts":
      'export const a = 1; if (import.meta.main) console.log("program");',
    "tasks/t.ts": printing('import { a } from "../lib/tool.ts";', "a"),
  });
  assertEquals(lines, ["1"]);
});

Deno.test("a bundle has the child.ts of the project beside the scheduler's", async () => {
  using project = new TestProject();
  const lines = await sameLines(project, {
    "child.ts": 'export const perform = () => "mine";',
    "tasks/t.ts": printing(
      'import { perform } from "../child.ts";',
      "perform()",
    ),
  });
  assertEquals(lines, ["mine"]);
});

/**
 * The WebAssembly module `(func (export "get") (result i32) (call $n))`, with
 * `n` imported from `./n.ts`.
 */
const WASM = [
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7f],
  ...[0x02, 0x0c, 0x01, 0x06, ...new TextEncoder().encode("./n.ts")],
  ...[0x01, 0x6e, 0x00, 0x00, 0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x07, 0x01, 0x03, 0x67, 0x65, 0x74, 0x00, 0x01],
  ...[0x0a, 0x06, 0x01, 0x04, 0x00, 0x10, 0x00, 0x0b],
];

Deno.test("a bundle has WebAssembly modules, with what they import", async () => {
  using project = new TestProject();
  Deno.mkdirSync(project.path("lib"));
  Deno.writeFileSync(project.path("lib/get.wasm"), new Uint8Array(WASM));
  const files = {
    "lib/n.ts": "export function n(): number { return 7; }",
    "tasks/t.ts": printing('import { get } from "../lib/get.wasm";', "get()"),
  };
  assertEquals(await sameLines(project, files), ["7"]);
  const before = await bundleOf(project);
  const edited = new Uint8Array(WASM);
  edited[edited.length - 3] = 0x41; // i32.const 0
  Deno.writeFileSync(project.path("lib/get.wasm"), edited);
  assertNotEquals(await bundleOf(project), before);
});

Deno.test("a bundle has modules of servers: redirected TypeScript, JSON, text and WebAssembly", async () => {
  using project = new TestProject();
  const bodies: Record<string, [type: string, body: string | Uint8Array]> = {
    "/v": ["application/typescript", "export const v: number = 5 as number;"],
    "/d.json": ["application/json", '{ "a": 6 }'],
    "/note.txt": ["text/plain", "a note\n"],
    "/n.ts": ["application/typescript", "export const n = (): number => 7;"],
    "/get.wasm": ["application/wasm", new Uint8Array(WASM)],
  };
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    ({ url }) => {
      const { pathname } = new URL(url);
      if (/^\/latest/.test(pathname)) {
        const location = pathname === "/latest" ? "/latest2" : "/v";
        return new Response(null, { status: 302, headers: { location } });
      }
      const [type, body] = bodies[pathname]!;
      return new Response(body as BodyInit, {
        headers: { "content-type": type },
      });
    },
  );
  const at = `http://127.0.0.1:${server.addr.port}`;
  const lines = await sameLines(project, {
    "deno.json": "{}",
    "tasks/t.ts": printing(
      `import { v } from "${at}/latest";
import d from "${at}/d.json" with { type: "json" };
import note from "${at}/note.txt" with { type: "text" };
import { get } from "${at}/get.wasm";`,
      "v, d, [note], get()",
    ),
  });
  assertEquals(lines, ['5 { a: 6 } [ "a note\\n" ] 7']);
});

/**
 * Small programs that Deno runs and that stages run: the same lines of them,
 * except those of `EXCEPTIONS`.
 */

/**
 * A program: modules in a folder of their own, of which `task.ts` is the first.
 */
export interface Program {
  /** Files beside `task.ts`, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Source of `task.ts`, without its default export. */
  readonly task: string;
}

/**
 * Packages that take the place of two of the registry; the first is CommonJS,
 * the second ES modules.
 */
export const PACKAGES: Readonly<Record<string, string>> = {
  "long/package.json": JSON.stringify({
    name: "long",
    version: "4.0.0",
    main: "main.js",
    exports: {
      ".": "./main.js",
      "./conditions": {
        "module-sync": "./module_sync.mjs",
        import: "./import.mjs",
        default: "./main.js",
      },
      "./required": { require: "./main.js", import: "./import.mjs" },
      "./browser": { browser: "./import.mjs", default: "./main.js" },
      "./deno": {
        node: "./main.js",
        deno: "./import.mjs",
        default: "./module_sync.mjs",
      },
      "./*": "./*",
    },
  }),
  "long/main.js": 'exports.main = "main";',
  "long/import.mjs": 'export default "import";',
  "long/module_sync.mjs": 'export default "module-sync";',
  "long/es_module.js":
    'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = "inner"; exports.named = 1;',
  "long/es_module_without_default.js":
    "exports.__esModule = true; exports.named = 2;",
  "long/own.js":
    'class Own { static default = "inner"; static __esModule = true; } module.exports = Own; module.exports.default = Own; Object.defineProperty(exports, "__esModule", { value: true });',
  "long/function.js":
    'module.exports = function made() { return "made"; }; module.exports.extra = 3;',
  "long/reexport.js": 'module.exports = require("./es_module.js");',
  "long/this.js":
    "exports.isExports = this === exports; exports.strict = (function () { return this === undefined; })();",
  "long/umd.js":
    '(function (root, make) { if (typeof exports === "object" && typeof module !== "undefined") module.exports = make(); else root.Umd = make(); })(this, function () { return { kind: "umd" }; });',
  "long/requires_module.js":
    'const it = require("./module_sync.mjs"); exports.keys = Object.keys(it); exports.value = it.default;',
  "long/requires_conditions.js":
    'const it = require("long/conditions"); exports.value = it.default; exports.other = require("long/required");',
  "long/builtin.js":
    'const { join } = require("path"); const util = require("node:util"); exports.joined = join("a", "b"); exports.text = util.format("%d", 4);',
  "long/data.js": 'exports.data = require("./data.json");',
  "long/data.json": '{ "b": 1, "a": [2] }',
  "long/imports.mjs":
    'import inner, { named } from "./es_module.js"; export default [typeof inner, inner.default, named];',
  "long/meta.mjs":
    "export default [typeof import.meta.url, import.meta.main, typeof require, typeof module, typeof exports];",
  "long/location.mjs":
    'export default import.meta.url.endsWith("long/location.mjs");',
  "long/names.js":
    "exports.__esModule = true; class Same { } exports.Same = Same; exports.arrow = () => 1;",
  "safe-buffer/package.json": JSON.stringify({
    name: "safe-buffer",
    version: "5.2.1",
    type: "module",
    exports: { "./*": "./*", ".": "./main.js" },
    imports: { "#inner": "./inner.js" },
  }),
  "safe-buffer/main.js":
    'import { inner } from "#inner"; export const value = inner; export default class Same { }',
  "safe-buffer/slow.js":
    "export const slow = await new Promise((done) => setTimeout(done, 20, 4));",
  "safe-buffer/star.js": 'export * from "./slow.js";',
  "safe-buffer/inner.js": 'export const inner = "inner";',
  "safe-buffer/none.js": "globalThis.none = typeof exports + String(this);",
  "safe-buffer/commonjs.cjs":
    'exports.__esModule = true; exports.default = "cjs";',
  "safe-buffer/imports.js":
    'import it from "./commonjs.cjs"; export default typeof it;',
  "safe-buffer/json.js":
    'import data from "./data.json" with { type: "json" }; import * as all from "./data.json" with { type: "json" }; export default [data, Object.keys(all)];',
  "safe-buffer/data.json": '{ "c": 1 }',
};

const LOG = (value: string) => `console.log(${value});`;

/**
 * A program that prints what it makes of the default import of a module, `it`.
 */
const prints = (module: string, value = "it"): Program => ({
  task: `import it from "${module}"; ${LOG(value)}`,
});

/** Keys of a namespace `ns`; see `EXCEPTIONS` for the two that are left out. */
const KEYS =
  "Object.keys(ns).filter((it) => !/^(__esModule|module.exports)$/.test(it)).sort()";

/** `deno.json` of the project of {@linkcode PROGRAMS}. */
export const CONFIG = {
  nodeModulesDir: "auto",
  links: ["./packages/long", "./packages/safe-buffer"],
  imports: {
    long: "npm:long@4.0.0",
    "long/": "npm:/long@4.0.0/",
    "safe-buffer": "npm:safe-buffer@5.2.1",
    "safe-buffer/": "npm:/safe-buffer@5.2.1/",
    ajv: "npm:ajv@8.20.0",
  },
};

/** Programs by name, whose project has {@linkcode CONFIG}. */
export const PROGRAMS: Readonly<Record<string, Program>> = {
  "CommonJS: a default import with __esModule": prints(
    "long/es_module.js",
    "it, it.default",
  ),
  "CommonJS: a default import of ajv of the lock file": prints(
    "ajv",
    "typeof it, typeof it.default, Object.keys(it).sort().join()",
  ),
  "CommonJS: a namespace with __esModule": {
    task: `import * as ns from "long/es_module.js"; ${
      LOG(`${KEYS}, ns.default, ns.named`)
    }`,
  },
  "CommonJS: names with __esModule": {
    task: `import { named, default as it } from "long/es_module.js"; ${
      LOG("named, it")
    }`,
  },
  "CommonJS: a default import with __esModule and no default": prints(
    "long/es_module_without_default.js",
  ),
  "CommonJS: a class that is its own default": prints(
    "long/own.js",
    "typeof it, it.default",
  ),
  "CommonJS: a function with members": {
    task:
      `import it from "long/function.js"; import * as ns from "long/function.js"; ${
        LOG(`it(), it.extra, ${KEYS}`)
      }`,
  },
  "CommonJS: what a module exports again": {
    task: `import it, { named } from "long/reexport.js"; ${LOG("it, named")}`,
  },
  "CommonJS: exported again by a module": {
    files: {
      "again.ts":
        'export { default, named } from "long/es_module.js"; export * as all from "long/es_module.js";',
      "star.ts": 'export * from "long/es_module.js";',
    },
    task:
      `import it, { named, all } from "./again.ts"; import * as ns from "./star.ts"; ${
        LOG(`it, named, all.named, ${KEYS}`)
      }`,
  },
  "CommonJS: a dynamic import": {
    task: `const ns = await import("long/es_module.js"); ${
      LOG(`${KEYS}, ns.default, ns.named`)
    }`,
  },
  "CommonJS: a dynamic import without __esModule": {
    task: `const ns = await import("long/main.js"); ${
      LOG(`${KEYS}, ns.default, ns.main`)
    }`,
  },
  "CommonJS: this": prints("long/this.js", "it.isExports"),
  "CommonJS: a package in UMD": prints("long/umd.js", "it, globalThis.Umd"),
  "CommonJS: requires an ES module": prints(
    "long/requires_module.js",
    "it.value",
  ),
  "CommonJS: requires by conditions": prints("long/requires_conditions.js"),
  "CommonJS: requires built-in modules": prints("long/builtin.js"),
  "CommonJS: requires JSON": prints("long/data.js"),
  "CommonJS: imported by an ES module of its package": prints(
    "long/imports.mjs",
  ),
  "CommonJS: imported by a package of ES modules": prints(
    "safe-buffer/imports.js",
  ),
  "CommonJS: a file of the user": {
    files: {
      "a.cjs":
        'exports.__esModule = true; exports.default = "inner"; exports.named = typeof require + typeof module + (this === exports);',
    },
    task: `import it, { named } from "./a.cjs"; ${LOG("it, named")}`,
  },
  "CommonJS: a file of the user that requires another": {
    files: {
      "a.cjs": 'exports.got = require("./b.cjs").b + require("./d.json").d;',
      "b.cjs": "exports.b = 1;",
      "d.json": '{ "d": 2 }',
    },
    task: `import it from "./a.cjs"; ${LOG("it")}`,
  },
  "CommonJS: TypeScript of the user": {
    files: {
      "a.cts": 'const one: number = 1; module.exports = { one, kind: "cts" };',
    },
    task: `import it from "./a.cts"; ${LOG("it")}`,
  },
  "package: ES modules with imports of its own": {
    task: `import Same, { value } from "safe-buffer"; ${
      LOG("Same.name, value")
    }`,
  },
  "package: an ES module without import and export": {
    task:
      `import "safe-buffer/none.js"; import * as ns from "safe-buffer/none.js"; ${
        LOG(`globalThis.none, ${KEYS}`)
      }`,
  },
  "package: JSON": prints("safe-buffer/json.js"),
  "conditions: module-sync": prints("long/conditions"),
  "conditions: browser": prints("long/browser"),
  "conditions: the order of the package": prints("long/deno"),
  "module without import and export": {
    files: {
      "a.js":
        'globalThis.a = [typeof exports, typeof module, typeof require, String(this), typeof __filename, typeof __dirname]; console.log("a");',
    },
    task: `import "./a.js"; import * as ns from "./a.js"; ${
      LOG("globalThis.a, Object.keys(ns)")
    }`,
  },
  "module without import and export, imported dynamically": {
    files: { "a.ts": 'console.log("a");' },
    task: `const ns = await import("./a.ts"); ${LOG("Object.keys(ns)")}`,
  },
  "module without import and export that assigns exports": {
    files: {
      "a.js":
        "globalThis.exports = {}; exports.a = 1; console.log(typeof module, globalThis.exports); delete globalThis.exports;",
    },
    task: `import * as ns from "./a.js"; ${LOG("Object.keys(ns)")}`,
  },
  "UMD file of the user": {
    files: {
      "umd.js":
        '(function (root, make) { if (typeof exports === "object" && typeof module !== "undefined") module.exports = make(); else if (typeof define === "function" && define.amd) define(make); else root.Umd = make(); })(typeof globalThis !== "undefined" ? globalThis : this, function () { return { kind: "umd" }; });',
    },
    task: `import "./umd.js"; ${LOG("(globalThis as any).Umd")}`,
  },
  "this at the top of a module": {
    task: `${LOG("typeof this, this === undefined")} export const x = 1;`,
  },
  "strictness of a module without import and export": {
    files: {
      "a.js":
        "globalThis.strict = (function () { return this === undefined; })(); try { undeclared = 1; } catch (error) { console.log(error.name); }",
    },
    task: `import "./a.js"; ${LOG("(globalThis as any).strict")}`,
  },
  "names of CommonJS in a module": {
    task: `import builtin from "long/builtin.js"; ${
      LOG(
        "builtin, typeof require, typeof module, typeof exports, typeof __filename, typeof __dirname",
      )
    } try { require("node:fs"); } catch (error) { ${
      LOG("(error as Error).name")
    } }`,
  },
  "names of CommonJS declared by a module": {
    files: {
      "a.ts":
        'const require = (it: string) => it + "!"; const exports = { a: 1 }; const module = { exports }; const __filename = "f"; export const all = [require("x"), exports, module, __filename];',
    },
    task: `import { all } from "./a.ts"; ${LOG("all")}`,
  },
  "names: classes of one name": {
    files: {
      "a.ts":
        "class Same { } export const a = new Same(); export default class { }",
      "b.ts": "export class Same { } export const b = () => Same;",
    },
    task:
      `import { a } from "./a.ts"; import D from "./a.ts"; import { b, Same } from "./b.ts"; import P from "safe-buffer"; import n from "long/names.js"; ${
        LOG(
          "a.constructor.name, Same.name, b.name, b().name, D.name, P.name, n.Same.name, n.arrow.name",
        )
      }`,
  },
  "names: functions of one name": {
    files: {
      "a.ts":
        "function same() { } const arrow = () => { }; export const a = [same, arrow]; export default function () { }",
      "b.ts":
        "export function same() { } export const arrow = function () { }; const { inner = () => 1 } = {} as any; export { inner };",
    },
    task:
      `import d, { a } from "./a.ts"; import * as b from "./b.ts"; function local() { const same = () => 1; class arrow { } return [same, arrow]; } ${
        LOG(
          "[...a, ...Object.values(b), ...local(), d].map((it: any) => it.name)",
        )
      }`,
  },
  "names: of errors and of values inspected": {
    files: {
      "a.ts": "export class Wrong extends Error { }",
      "b.ts": "export class Wrong extends TypeError { x = 1; }",
    },
    task:
      `import * as a from "./a.ts"; import * as b from "./b.ts"; class Wrong { y = 2; } for (const C of [a.Wrong, b.Wrong]) { const it = new C("x"); console.log(it.constructor.name, String(it), it.stack!.split("\\n")[0]); } ${
        LOG("new Wrong(), [new b.Wrong().constructor]")
      }`,
  },
  "names: static name of a class": {
    files: { "a.ts": 'export class A { static name = "mine"; }' },
    task:
      `import { A as Other } from "./a.ts"; class A { static override = 1; } ${
        LOG("A.name, Other.name")
      }`,
  },
  "namespace: of a module with exports": {
    files: {
      "a.ts":
        "export let count = 0; export function more() { count++; } export default 5;",
    },
    task: `import * as ns from "./a.ts"; ns.more(); ${
      LOG("Object.keys(ns), ns.count, 'more' in ns, ns.default")
    }`,
  },
  "namespace: cannot be written": {
    files: { "a.ts": "export const a = 1;" },
    task:
      `import * as ns from "./a.ts"; const it: any = ns; try { it.a = 2; } catch (error) { ${
        LOG("(error as Error).name")
      } } ${LOG("it.a, Object.isFrozen(it)")}`,
  },
  "namespace: the same for both kinds of import": {
    files: { "a.ts": "export const a = 1;" },
    task: `import * as ns from "./a.ts"; const late = await import("./a.ts"); ${
      LOG("ns === late, Object.keys(late)")
    }`,
  },
  "JSON: imports": {
    files: { "d.json": '{ "one": 1, "a b": 2, "default": 3, "__proto__": 4 }' },
    task:
      `import d from "./d.json" with { type: "json" }; import * as ns from "./d.json" with { type: "json" }; const late = await import("./d.json", { with: { type: "json" } }); ${
        LOG(
          "d, Object.keys(d), Object.keys(ns), Object.keys(late), late.default === d",
        )
      }`,
  },
  "text": {
    files: { "t.txt": "text\n", "m.ts": "export {};" },
    task:
      `import t from "./t.txt" with { type: "text" }; import m from "./m.ts" with { type: "text" }; import * as ns from "./t.txt" with { type: "text" }; ${
        LOG(`[t], [m], ${KEYS}`)
      }`,
  },
  "built-in modules": {
    task:
      `import fs, { statSync } from "node:fs"; import * as path from "node:path"; import { inspect } from "util"; const late = await import("node:os"); ${
        LOG(
          "typeof fs.statSync, statSync === fs.statSync, path.join('a', 'b'), inspect({}), typeof late.default.cpus",
        )
      }`,
  },
  "dynamic imports: evaluated once, when they are called": {
    files: { "a.ts": 'console.log("a"); export const a = {};' },
    task:
      `console.log("start"); const [x, y] = await Promise.all([import("./a.ts"), import("./a.ts")]); ${
        LOG("x === y, x.a === y.a")
      }`,
  },
  "dynamic imports: a module that throws": {
    files: { "a.ts": 'console.log("a"); throw new RangeError("no");' },
    task:
      `for (let i = 0; i < 2; i++) try { await import("./a.ts"); } catch (error) { ${
        LOG("(error as Error).name")
      } }`,
  },
  "dynamic imports: a module that is missing": {
    task:
      `const name = "./none.ts"; try { await import(name); } catch (error) { ${
        LOG("(error as Error).name")
      } }`,
  },
  "top-level await: of a package that a module imported later imports": {
    files: {
      "a.ts":
        'import { compile } from "npm:vega-lite@6.5.0"; export const marks = compile({ mark: "bar", data: { values: [{ x: 1 }] }, encoding: { x: { field: "x", type: "quantitative" } } }).spec.marks?.length;',
    },
    task: 'const { marks } = await import("./a.ts"); console.log(marks);',
  },
  "top-level await: of a module that a module imported later exports all of": {
    files: {
      "a.ts": 'export * from "./b.ts"; console.log("a");',
      "b.ts":
        'console.log("b1"); export const b = await Promise.resolve(3); console.log("b2");',
      "c.ts": 'export * from "./a.ts"; export * from "./d.ts";',
      "d.ts":
        'import { b } from "./a.ts"; console.log("d", b); export const d = b + 1;',
    },
    task:
      'const { b, d } = await import("./c.ts"); const a = await import("./a.ts"); console.log(b, d, a.b);',
  },
  "top-level await: of a package whose entry exports all of it and no more": {
    files: {
      "a.ts":
        'import { slow } from "safe-buffer/star.js"; export const twice = 2 * slow;',
      "b.ts": 'export * from "safe-buffer/star.js";',
    },
    task:
      'const { twice } = await import("./a.ts"); const { slow } = await import("./b.ts"); console.log(twice, slow);',
  },
  "top-level await: of an import": {
    files: {
      "a.ts":
        'console.log("a1"); await Promise.resolve(); console.log("a2"); export const a = 1;',
    },
    task: `import { a } from "./a.ts"; ${LOG("a")}`,
  },
  "top-level await: for await and await using": {
    task:
      `for await (const x of [Promise.resolve(1), 2]) console.log(x); await using it = { async [Symbol.asyncDispose]() { console.log("disposed"); } }; ${
        LOG("typeof it")
      }`,
  },
  "order: of imports and of what they import": {
    files: {
      "a.ts": 'import "./c.ts"; console.log("a");',
      "b.ts": 'import "./c.ts"; console.log("b"); export * from "./d.ts";',
      "c.ts": 'console.log("c");',
      "d.ts": 'console.log("d"); export const d = 1;',
    },
    task:
      `console.log("t"); import "./b.ts"; import "./a.ts"; import { d } from "./d.ts"; ${
        LOG("d")
      }`,
  },
  "cycle: of functions": {
    files: {
      "a.ts":
        'import { b } from "./b.ts"; export function a(n: number): string { return n ? "a" + b(n - 1) : "."; }',
      "b.ts":
        'import { a } from "./a.ts"; export function b(n: number): string { return n ? "b" + a(n - 1) : "."; } console.log(a(1));',
    },
    task: `import { a } from "./a.ts"; ${LOG("a(4)")}`,
  },
  "import.meta of a module": {
    files: {
      "a.ts":
        "export const a = [typeof import.meta.url, import.meta.main, Object.keys(import.meta).includes('url')];",
    },
    task: `import { a } from "./a.ts"; ${LOG("a")}`,
  },
  "TypeScript: enums and namespaces": {
    files: {
      "a.ts":
        'export enum Color { Red = 1, Green, Blue = "b" } export const enum Size { Small = 3 } export namespace N { export const x = 1; export namespace M { export const y = x + 1; } } declare global { var unused: number; }',
    },
    task:
      `import { Color, Size, N } from "./a.ts"; import type { Color as C } from "./a.ts"; const c: C = Color.Green; ${
        LOG("Color, Color[2], Size.Small, N, c")
      }`,
  },
  "TypeScript: classes": {
    files: {
      "a.ts":
        'export abstract class Base { abstract x: number; declare y: string; constructor(readonly a: number, protected b = a + 1) { } sum() { return this.a + this.b; } } export class Sub extends Base { x = this.a; #z = 2; static s = "s"; static { this.s += "t"; } get z() { return this.#z; } }',
    },
    task: `import { Sub } from "./a.ts"; const it = new Sub(1); ${
      LOG("it, Object.keys(it), it.sum(), it.z, Sub.s, Sub.name")
    }`,
  },
  "TypeScript: operators": {
    task:
      `function of<const T>(x: T): T { return x; } let maybe: { a?: number } | undefined; maybe ??= {}; ${
        LOG(
          "of([1] as const), maybe!.a satisfies unknown, (maybe as any)?.b?.c, 2 ** 3, 1_000n",
        )
      }`,
  },
  decorators: {
    files: {
      "a.ts":
        `type C = { kind: string; name: string | symbol; addInitializer(f: () => void): void };
export function log(value: any, context: any) { console.log(context.kind, String(context.name)); if (context.kind === "method") return function (this: any, ...args: unknown[]) { return value.apply(this, args) + 1; }; if (context.kind === "field") return (x: number) => x * 2; }
@log export class A { @log f = 2; @log m() { return 1; } @log static s = 3; @log accessor z = 1; }`,
    },
    task: `import { A } from "./a.ts"; const it = new A(); ${
      LOG("it.f, it.m(), A.s, it.z, A.name")
    }`,
  },
  using: {
    task:
      `const of = (name: string) => ({ name, [Symbol.dispose]() { console.log("dispose", name); } }); { using a = of("a"); using b = of("b"); console.log(a.name, b.name); } using top = of("top"); ${
        LOG("top.name")
      }`,
  },
  "JSX of the classic runtime": {
    files: {
      "a.tsx":
        "/** @jsx make */ /** @jsxFrag Frag */ const make = (...all: unknown[]) => all; const Frag = 'frag'; export const a = <p x='1'>{2}<><b /></></p>;",
    },
    task: `import { a } from "./a.tsx"; ${LOG("a")}`,
  },
  "text that looks like code of a bundler": {
    task: `const it = "import { x } from 'y'; // code:lib/a.ts"; ${
      LOG('it, `\n// code:lib/b.ts\n`, "__name(a, \\"b\\")"')
    }`,
  },
  "labels, directives and regular expressions": {
    task:
      `outer: for (const x of [1, 2]) { for (;;) { if (x === 2) break outer; continue outer; } } ${
        LOG(
          '/(?<year>\\d{4})/v.exec("in 2026")!.groups!.year, "\\u{1F600}", "</script>"',
        )
      }`,
  },
  "tagged templates and their raw text": {
    task:
      "const tag = (t: TemplateStringsArray) => t.raw; console.log(tag`a\\n\\u0041`, tag`x` === tag`x`);",
  },
  "direct eval": {
    files: { "a.ts": "export const inner = 1;" },
    task:
      `import { inner as other } from "./a.ts"; function f() { const inner = 2; return eval("inner"); } ${
        LOG("f(), other")
      }`,
  },
  "arguments at the top of a module": {
    task: `try { arguments; } catch (error) { ${
      LOG("(error as Error).name")
    } }`,
  },
  "names of default exports": {
    files: {
      "a.ts": "export default class { }",
      "b.ts": "export default () => 1;",
      "c.ts": "export default class Mine { }",
      "d.ts": "const it = function () { }; export default it;",
      "e.ts": "export default (function () { });",
    },
    task:
      `const all = await Promise.all([import("./a.ts"), import("./b.ts"), import("./c.ts"), import("./d.ts"), import("./e.ts")]); ${
        LOG("all.map((it) => it.default.name)")
      }`,
  },
  "exports of two modules with one name": {
    files: {
      "a.ts": 'export const same = "a", a = 1;',
      "b.ts": 'export const same = "b", b = 2;',
      "c.ts": 'export * from "./a.ts"; export * from "./b.ts";',
      "d.ts": 'export * from "./a.ts"; export const same = "d";',
    },
    task: `import * as c from "./c.ts"; import * as d from "./d.ts"; ${
      LOG("Object.keys(c), Object.keys(d), d.same")
    }`,
  },
  "names of exports that are texts": {
    files: { "a.ts": 'const a = 1; export { a as "a b", a as default };' },
    task:
      `import { "a b" as it } from "./a.ts"; import * as ns from "./a.ts"; ${
        LOG("it, Object.keys(ns)")
      }`,
  },
  "generators, private names and optional catch": {
    task:
      `class A { static #n = 0; static has(it: object) { return #n in it; } } async function* g() { yield* [1, 2]; } const all = []; for await (const x of g()) all.push(x); try { throw 0; } catch { ${
        LOG("all, A.has(A), A.has({})")
      } }`,
  },
  "npm: a specifier in the module": {
    task:
      `import it from "npm:ajv@8.20.0"; const late = await import("npm:ajv@8.20.0"); ${
        LOG("typeof it, it === late.default, it.name")
      }`,
  },
  "globals of Deno": {
    task: LOG(
      "typeof Deno, typeof window, typeof global, typeof process, typeof Buffer, typeof setImmediate, typeof globalThis.Deno.version.deno",
    ),
  },
  "getters that are exported and assigned later": {
    files: {
      "a.ts":
        'export let value = "first"; export const set = (it: string) => { value = it; }; export { value as other };',
    },
    task: `import { value, other, set } from "./a.ts"; set("second"); ${
      LOG("value, other")
    }`,
  },
  "evaluation of modules that nothing is imported from": {
    files: {
      "package.ts": 'console.log("effect"); export const unused = 1;',
      "pure.ts": 'export const x = /* @__PURE__ */ console.log("pure");',
    },
    task:
      `import "./package.ts"; import { unused } from "./package.ts"; import { x } from "./pure.ts"; ${
        LOG("typeof unused, x")
      }`,
  },
  "getters and calls that nobody uses": {
    files: {
      "a.ts":
        'const it = { get x() { console.log("read"); return 1; } }; it.x; export const y = it.x; new (class { constructor() { console.log("made"); } })(); export const z = `${{ toString() { console.log("text"); return ""; } }}`;',
    },
    task: `import "./a.ts"; ${LOG('"end"')}`,
  },
};

/** A program with a project of its own. */
export interface Project {
  readonly config: object;
  /** Files of the project, by path; `tasks/task.ts` is the first. */
  readonly files: Readonly<Record<string, string>>;
}

/** Projects by name. */
export const PROJECTS: Readonly<Record<string, Project>> = {
  "import map: names, folders and scopes": {
    config: {
      imports: {
        "mapped/": "./lib/",
        util: "./lib/util.ts",
        only: "./lib/a.ts",
      },
      scopes: { "./lib/": { only: "./lib/b.ts" } },
    },
    files: {
      "lib/a.ts":
        'import { b } from "mapped/b.ts"; import { c } from "only"; export const a = "a" + b + c;',
      "lib/b.ts": 'export const b = "b", c = "c";',
      "lib/util.ts": 'export const inspect = "mine";',
      "tasks/task.ts":
        `import { a } from "only"; import { inspect } from "util"; ${
          LOG("a, inspect")
        }`,
    },
  },
  "decorators of TypeScript": {
    config: { compilerOptions: { experimentalDecorators: true } },
    files: {
      "tasks/task.ts":
        `function log(...all: unknown[]) { console.log(all.length, all[1]); } @log class A { @log m(@log x: number) { return x; } @log f = 1; } ${
          LOG("new A().m(1)")
        }`,
    },
  },
  "compilerOptions of workspace members": {
    config: {
      workspace: ["./one", "./two"],
      imports: { "react/jsx-runtime": "./jsx.ts" },
    },
    files: {
      "jsx.ts":
        "export const jsx = (...all: unknown[]) => all; export const jsxs = jsx;",
      "one/deno.json": JSON.stringify({
        compilerOptions: { jsx: "react", jsxFactory: "make" },
      }),
      "one/a.tsx":
        'const make = (...all: unknown[]) => ["one", ...all]; export const a = <p />;',
      "two/deno.json": JSON.stringify({
        compilerOptions: { experimentalDecorators: true },
      }),
      "two/b.ts":
        "function log(...all: unknown[]) { console.log(all.length); } export class B { @log m() { } }",
      "tasks/task.ts":
        `import { a } from "../one/a.tsx"; import { B } from "../two/b.ts"; ${
          LOG("a, B.name")
        }`,
    },
  },
  "type of package.json of the user": {
    config: {},
    files: {
      "package.json": '{ "type": "commonjs" }',
      "lib/a.js":
        'exports.__esModule = true; exports.default = "inner"; exports.b = require("./b.cjs");',
      "lib/b.cjs": 'module.exports = "b";',
      "lib/c.mjs": "export const c = typeof require;",
      "tasks/task.ts":
        `import it from "../lib/a.js"; import { c } from "../lib/c.mjs"; ${
          LOG("it, c")
        } export const x = 1;`,
    },
  },
  "node_modules of the user": {
    config: { nodeModulesDir: "manual" },
    files: {
      "package.json": '{ "dependencies": { "hand": "1.0.0" } }',
      "node_modules/hand/package.json":
        '{ "name": "hand", "version": "1.0.0", "exports": { ".": "./main.js", "./module": "./module.mjs" } }',
      "node_modules/hand/main.js":
        'exports.__esModule = true; exports.default = "inner"; exports.b = require("./b.js");',
      "node_modules/hand/b.js": 'module.exports = "b";',
      "node_modules/hand/module.mjs":
        'import a from "./main.js"; export default a.default;',
      "tasks/task.ts":
        `import it from "hand"; import c from "hand/module"; import text from "../node_modules/hand/b.js" with { type: "text" }; ${
          LOG("it, c, text")
        }`,
    },
  },
  "JSX of the automatic runtime": {
    config: {
      compilerOptions: { jsx: "react-jsx", jsxImportSource: "one" },
      imports: { "one/jsx-runtime": "./one.ts" },
    },
    files: {
      "one.ts":
        'export const jsx = (...all: unknown[]) => all; export const jsxs = jsx; export const Fragment = "f";',
      "lib/a.tsx": 'export const a = <p x="1">{2}<><b /></></p>;',
      "tasks/task.ts": `import { a } from "../lib/a.tsx"; ${LOG("a")}`,
    },
  },
  "fields of classes that are set and not defined": {
    config: { compilerOptions: { useDefineForClassFields: false } },
    files: {
      "tasks/task.ts":
        `class A { set x(it: number) { console.log("set", it); } } class B extends A { override x = 1; y; } ${
          LOG("Object.keys(new B())")
        }`,
    },
  },
  bytes: {
    config: { unstable: ["raw-imports"] },
    files: {
      "lib/b.bin": "\u0001bytes",
      "tasks/task.ts":
        `import b from "../lib/b.bin" with { type: "bytes" }; import * as ns from "../lib/b.bin" with { type: "bytes" }; ${
          LOG(`b, ${KEYS}`)
        }`,
    },
  },
};

/** A program that prints something else as a stage, and why. */
export interface Exception extends Program {
  /** Lines of the stage. */
  readonly stage: readonly string[];
  /** Start of the point of lib/scheduler/README.md that says so. */
  readonly listed: string;
}

/**
 * Programs of the project of {@linkcode PROGRAMS} that print something else as
 * a stage.
 */
export const EXCEPTIONS: Readonly<Record<string, Exception>> = {
  "CommonJS: keys of a namespace": {
    task: `import * as ns from "long/es_module.js"; ${LOG("Object.keys(ns)")}`,
    stage: ['[ "default", "named" ]'],
    listed: "A namespace of a CommonJS module",
  },
  "CommonJS: keys of an ES module that it requires": {
    task: `import it from "long/requires_module.js"; ${LOG("it.keys")}`,
    stage: ['[ "default" ]'],
    listed: "A namespace of a CommonJS module",
  },
  "CommonJS: strictness": {
    task: `import it from "long/this.js"; ${LOG("it.strict")}`,
    stage: ["true"],
    listed: "CommonJS is strict",
  },
  "package: import.meta.url": {
    task: `import it from "long/location.mjs"; ${LOG("it")}`,
    stage: ["false"],
    listed: "`import.meta` is that of the bundle",
  },
  "package: require in an ES module": {
    task: `import it from "long/meta.mjs"; ${LOG("it[2]")}`,
    stage: ["function"],
    listed: "`require` exists in ES modules of packages",
  },
  "import.meta: places": {
    files: {
      "a.ts":
        "export const a = [import.meta.url, import.meta.filename, import.meta.dirname];",
    },
    task: `import { a } from "./a.ts"; ${
      LOG('a.map((it) => it!.split("/").at(-1))')
    }`,
    stage: ['[ "stage.mjs", "stage.mjs", "node_modules" ]'],
    listed: "`import.meta` is that of the bundle",
  },
  "import.meta.main of a task": {
    task: LOG("import.meta.main"),
    stage: ["false"],
    listed: "`import.meta` is that of the bundle",
  },
  "namespace: inspected": {
    files: { "a.ts": "export const a = 1;" },
    task: `import * as ns from "./a.ts"; ${LOG("ns")}`,
    stage: ["{ a: [Getter] }"],
    listed: "A namespace is an ordinary object",
  },
  "namespace: a new property": {
    files: { "a.ts": "export const a = 1;" },
    task:
      `import * as ns from "./a.ts"; const it: any = ns; try { it.b = 2; } catch (error) { ${
        LOG("(error as Error).name")
      } }`,
    stage: [],
    listed: "A namespace is an ordinary object",
  },
  "names: source of a function": {
    files: { "a.ts": "export function same() { return 1; }" },
    task:
      `import { same as other } from "./a.ts"; function same() { return 2; } ${
        LOG("[other, same].map((it) => String(it).slice(0, 16))")
      }`,
    stage: ['[ "function same() ", "function same2()" ]'],
    listed: "The source of a function",
  },
  "top-level await: of siblings": {
    files: {
      "a.ts":
        'console.log("a1"); await new Promise((done) => setTimeout(done, 5)); console.log("a2");',
      "b.ts": 'console.log("b1"); await 0; console.log("b2");',
      "c.ts": 'console.log("c"); export {};',
    },
    task: `import "./a.ts"; import "./b.ts"; import "./c.ts"; ${LOG('"end"')}`,
    stage: ["a1", "a2", "b1", "b2", "c", "end"],
    listed: "A module waits for the top-level awaits",
  },
  "cycle: access before initialisation": {
    files: {
      "a.ts": 'import "./b.ts"; export const a = 1;',
      "b.ts":
        'import { a } from "./a.ts"; try { console.log(a); } catch (error) { console.log((error as Error).name); }',
    },
    task: `import "./a.ts"; ${LOG('"end"')}`,
    stage: ["undefined", "end"],
    listed: "A variable at the top of a module",
  },
  "access before initialisation in one module": {
    task:
      "try { console.log(late); } catch (error) { console.log((error as Error).name); } const late = 1; export { late };",
    stage: ["undefined"],
    listed: "A variable at the top of a module",
  },
  "syntax that Deno lacks": {
    files: { "a.ts": "export class A { accessor x = 1; }" },
    task:
      `try { const { A } = await import("./a.ts"); console.log(new A().x); } catch (error) { console.log((error as Error).name); }`,
    stage: ["1"],
    listed: "`accessor` without a decorator",
  },
};

/** A project whose task cannot be a stage. */
export interface Refusal extends Project {
  /** Message of the error. */
  readonly message: string;
}

/** Projects that are refused when the stage's code is bundled, by name. */
export const REFUSALS: Readonly<Record<string, Refusal>> = {
  "JSON: a name that it does not export": {
    config: {},
    files: {
      "lib/d.json": '{ "one": 1 }',
      "tasks/task.ts": `console.log();
import { one } from "../lib/d.json" with { type: "json" };
console.log(one);`,
    },
    message:
      'tasks/task.ts:2:10: No matching export in "lib/d.json" for import "one"',
  },
  "JSON that is not": {
    config: {},
    files: {
      "lib/d.json": "{ one: 1 }",
      "tasks/task.ts":
        'import d from "../lib/d.json" with { type: "json" }; console.log(d);',
    },
    message: 'tasks/task.ts:1:15: "lib/d.json" is not valid JSON: ',
  },
  "a data: URL": {
    config: {},
    files: {
      "tasks/task.ts":
        'import { a } from "data:application/javascript,export const a = 1"; console.log(a);',
    },
    message:
      'tasks/task.ts:1:19: A stage cannot import "data:application/javascript,export const a = 1"; write it to a file',
  },
  "bytes without the setting of Deno": {
    config: {},
    files: {
      "lib/b.bin": "bytes",
      "tasks/task.ts":
        'import b from "../lib/b.bin" with { type: "bytes" }; console.log(b);',
    },
    message:
      'tasks/task.ts:1:15: The import attribute type of "bytes" is unsupported',
  },
  "CommonJS that is not strict": {
    config: {},
    files: {
      "lib/a.cjs": "with (Math) { exports.a = PI; }",
      "tasks/task.ts": 'import a from "../lib/a.cjs"; console.log(a);',
    },
    message: "lib/a.cjs:1:1: With statements",
  },
};

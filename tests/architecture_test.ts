import { assert, assertEquals } from "@std/assert";
import { ADAPTER_KINDS } from "../lib/engine/adapters/registry.ts";
import { ARCHITECTURES } from "../lib/engine/models/registry.ts";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/**
 * Rooms, and the rooms whose modules theirs may import; type imports count as
 * well.
 */
const KNOWS: Readonly<Record<string, readonly string[]>> = {
  // lib/data reads the table that `init` looks at, lib/hub pushes adapters,
  // lib/serve has the page of `try`.
  "lib/cli": [
    "lib/scheduler",
    "lib/slurm",
    "lib/pipeline",
    "lib/files",
    "lib/store",
    "lib/engine",
    "lib/data",
    "lib/problems",
    "lib/benchmarks",
    "lib/artifacts",
    "lib/peft",
    "lib/report",
    "lib/hub",
    "lib/track",
    "lib/resize",
    "lib/remote",
    "lib/serve",
  ],
  // Schedules of learning rates are in the engine.
  "lib/track": ["lib/store", "lib/artifacts", "lib/engine"],
  "lib/scheduler": ["lib/pipeline", "lib/files", "lib/store"],
  "lib/slurm": ["lib/scheduler", "lib/pipeline", "lib/files"],
  "lib/files": [],
  "lib/store": ["lib/files"],
  "lib/remote": ["lib/files", "lib/store"],
  "lib/pipeline": ["lib/files"],
  // Of lib/engine, the type of its losses' names.
  "lib/problems": ["lib/data", "lib/engine"],
  // Of lib/text and lib/data, the types of tokenizer classes and of encoded
  // examples, and the parsing of JSON.
  "lib/engine": ["lib/files", "lib/pypi", "lib/text", "lib/data"],
  // For users: what it shares with the training imports nothing.
  "lib/serve": ["lib/text", "lib/problems"],
  // It computes nothing: it loads no tensors.
  "lib/onnx": [
    "lib/artifacts",
    "lib/peft",
    "lib/engine",
    "lib/text",
    "lib/data",
    "lib/problems",
  ],
  "lib/artifacts": [
    "lib/files",
    "lib/engine",
    "lib/text",
    "lib/data",
    "lib/problems",
  ],
  "lib/peft": ["lib/artifacts", "lib/engine", "lib/problems"],
  "lib/stages": [
    "lib/onnx",
    "lib/hub",
    "lib/artifacts",
    "lib/peft",
    "lib/engine",
    "lib/text",
    "lib/data",
    "lib/problems",
    "lib/benchmarks",
    "lib/report",
    "lib/pipeline",
  ],
  "lib/resize": [
    "lib/engine",
    "lib/artifacts",
    "lib/peft",
    "lib/hub",
    "lib/report",
  ],
  "lib/text": ["lib/files", "lib/data"],
  "lib/data": [],
  "lib/benchmarks": ["lib/data", "lib/problems"],
  "lib/hub": ["lib/files", "lib/pypi"],
  "lib/pypi": ["lib/files"],
  // Titles and roles of methods are in their own files.
  "lib/report": ["lib/engine", "lib/problems"],
  "tasks": [
    "lib/stages",
    "lib/artifacts",
    "lib/peft",
    "lib/engine",
    "lib/data",
    "lib/benchmarks",
    "lib/hub",
    "lib/pypi",
    "lib/report",
    "lib/resize",
    "lib/pipeline",
  ],
};

/** Folders at the top that hold no room. */
const OTHERS = ["fixtures", "tests"];

interface Source {
  /** Below the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

function* sources(folder: string): Generator<Source> {
  for (const { name, isDirectory } of Deno.readDirSync(join(ROOT, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* sources(path);
    else if (name.endsWith(".ts")) {
      yield { path, text: Deno.readTextFileSync(join(ROOT, path)) };
    }
  }
}

const all = [...Object.keys(KNOWS), ...OTHERS].flatMap((it) => [
  ...sources(it),
]);

/** Paths of the modules in imports, exports and dynamic imports. */
function importsOf(source: Source): string[] {
  return pathsOf(source, /\b(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g);
}

/** Paths of the modules that are loaded together with a module. */
function staticImportsOf(source: Source): string[] {
  const text = withoutTypeImports(source);
  return pathsOf({ ...source, text }, /\bfrom\s+"(\.{1,2}\/[^"]+)"/g);
}

function withoutTypeImports({ text }: Source): string {
  return text.replace(/^(import|export) type [^;]*;/gm, "");
}

function pathsOf({ path, text }: Source, specifier: RegExp): string[] {
  return [...text.matchAll(specifier)].map(([, found]) =>
    relative(ROOT, resolve(ROOT, dirname(path), found!)).replaceAll("\\", "/")
  );
}

function roomOf(path: string): string | undefined {
  return Object.keys(KNOWS).find((room) => path.startsWith(`${room}/`));
}

Deno.test("each room knows only the rooms that it may", () => {
  const wrong = all.flatMap((source) => {
    const room = roomOf(source.path);
    if (room === undefined) return [];
    return importsOf(source)
      .filter((path) => {
        const other = roomOf(path);
        return other !== room && !(other && KNOWS[room]!.includes(other));
      })
      .map((path) => `${source.path} imports ${path}`);
  });
  assertEquals(wrong, []);
});

Deno.test("what lib/serve shares with the training imports nothing, since users have it in their bundles", () => {
  const shared = new Set(
    all.filter(({ path }) => path.startsWith("lib/serve/"))
      .flatMap(importsOf).filter((path) => !path.startsWith("lib/serve/")),
  );
  assertEquals([...shared].sort(), [
    "lib/problems/continuation.ts",
    "lib/problems/entities.ts",
    "lib/text/frame.ts",
  ]);
  const importing = all.filter(({ path, text }) =>
    shared.has(path) && /\b(from|import)\s*\(?\s*"/.test(text)
  );
  assertEquals(importing.map(({ path }) => path), []);
});

Deno.test("tasks import nothing from lib/pipeline except task.ts", () => {
  const wrong = all.filter(({ path }) => /^(tasks|lib\/stages)\//.test(path))
    .flatMap((source) =>
      importsOf(source).filter((path) =>
        path.startsWith("lib/pipeline/") && path !== "lib/pipeline/task.ts"
      ).map((path) => `${source.path} imports ${path}`)
    );
  assertEquals(wrong, []);
});

/**
 * Modules whose import loads a package, since they or what they import
 * statically import it.
 */
function loadersOf(name: string): Set<string> {
  const product = all.filter(({ path }) => /^(lib|tasks)\//.test(path));
  const found = new Set(
    product.filter((it) => withoutTypeImports(it).includes(` from "${name}";`))
      .map(({ path }) => path),
  );
  const imports = product.map((it) => [it.path, staticImportsOf(it)] as const);
  for (const path of found) {
    for (const [importer, imported] of imports) {
      if (imported.includes(path)) found.add(importer);
    }
  }
  return found;
}

Deno.test("yaml is loaded when needed only, for places, comments and edits", () => {
  const loaders = [...loadersOf("yaml")];
  assertEquals(loaders[0], "lib/pipeline/places.ts");
  assertEquals(
    loaders.filter((it) => /main\.ts$|pipeline\/(load|read)\.ts$/.test(it)),
    [],
  );
});

Deno.test("planning, which imports tasks, loads no tensors", () => {
  const loaders = [...loadersOf("@tensorflow/tfjs-core")];
  assert(loaders.includes("lib/stages/training.ts"));
  assertEquals(
    loaders.filter((it) => /^(tasks|lib\/cli|lib\/onnx)\//.test(it)),
    [],
  );
});

Deno.test("a run with nothing to do loads no module of Node.js, which take 6 to 10 ms each", () => {
  const names = ["path", "os", "child_process", "process"];
  assertEquals(
    names.filter((name) =>
      loadersOf(`node:${name}`).has("lib/cli/commands/pipeline.ts")
    ),
    [],
  );
});

Deno.test("what small stages load needs no module of Node.js, which take 15 to 50 ms", () => {
  const shared = /^lib\/(artifacts|onnx|peft|stages|text)\//;
  assertEquals(
    all.filter(({ path, text }) =>
      shared.test(path) && / from "node:/.test(text)
    )
      .map(({ path }) => path),
    [],
  );
});

Deno.test("the README of a room ends with its decisions", () => {
  // Those of the command line and of small rooms are in lib/README.md.
  const elsewhere = ["lib/cli", "lib/benchmarks", "lib/pypi"];
  const rooms = Object.keys(KNOWS).filter((it) => !elsewhere.includes(it));
  const lastHeading = (room: string) =>
    Deno.readTextFileSync(join(ROOT, room, "README.md"))
      .match(/^## .*$/gm)?.at(-1);
  assertEquals(rooms.filter((it) => lastHeading(it) !== "## Decisions"), []);
});

Deno.test("zod is imported as a namespace, without which a bundle has all its languages", () => {
  assertEquals(
    all.filter(({ text }) => /import \{[^}]*\bz\b[^}]*\} from "zod"/.test(text))
      .map(({ path }) => path),
    [],
  );
});

Deno.test("the scheduler and the pipeline name no task", () => {
  const tasks = [...Deno.readDirSync(join(ROOT, "tasks"))]
    .flatMap(({ name }) => /^(.+)\.ts$/.exec(name)?.[1] ?? []);
  const named = all.filter(({ path }) =>
    /^lib\/(scheduler|store|pipeline)\//.test(path)
  ).flatMap(({ path, text }) => {
    const code = text.replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, "");
    return tasks.filter((it) => code.includes(`"${it}"`))
      .map((it) => `${path} names ${it}`);
  });
  assertEquals(named, []);
});

/** Cycles of a graph, as paths from a node back to itself. */
function cyclesOf(graph: ReadonlyMap<string, Iterable<string>>): string[] {
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (node: string, way: readonly string[]) => {
    if (way.includes(node)) {
      cycles.push([...way.slice(way.indexOf(node)), node].join(" -> "));
    } else if (!done.has(node)) {
      for (const next of graph.get(node) ?? []) visit(next, [...way, node]);
      done.add(node);
    }
  };
  for (const node of graph.keys()) visit(node, []);
  return cycles;
}

Deno.test("no modules import each other in a cycle", () => {
  assertEquals(
    cyclesOf(new Map(all.map((it) => [it.path, importsOf(it)]))),
    [],
  );
});

Deno.test("no folders import each other in a cycle", () => {
  const graph = new Map<string, Set<string>>();
  for (const source of all.filter(({ path }) => roomOf(path) !== undefined)) {
    const folder = dirname(source.path);
    const others = graph.get(folder) ?? new Set();
    for (const path of importsOf(source)) {
      if (dirname(path) !== folder) others.add(dirname(path));
    }
    graph.set(folder, others);
  }
  assertEquals(cyclesOf(graph), []);
});

/** Code of the rooms without comments, apart from a folder. */
function codeOutside(folder: string): Source[] {
  return all.filter(({ path }) =>
    roomOf(path) !== undefined && !path.startsWith(`${folder}/`)
  ).map(({ path, text }) => ({
    path,
    text: text.replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, ""),
  }));
}

Deno.test("an architecture is named only in its own file and the registry", () => {
  const folder = "lib/engine/models";
  const architectures = ARCHITECTURES.map(({ type }) => type);
  const others = [
    "chunked_pass",
    "classifier",
    "config",
    "generation_pass",
    "model",
    "outline",
    "parameters",
    "pass_weights",
    "pooling",
    "registry",
    "tensor_pass",
  ];
  const files = [...sources(folder)].filter(({ path }) =>
    !others.includes(basename(path, ".ts"))
  );
  const names = (text: string) =>
    architectures.filter((it) => text.includes(`"${it}"`));
  const inFiles = files.map(({ text }) => names(text));
  assertEquals(inFiles.flat().sort(), architectures.toSorted());
  assertEquals(inFiles.filter(({ length }) => length === 0), []);
  const named = codeOutside(folder).filter((source) =>
    names(source.text).length > 0 ||
    importsOf(source).some((it) => files.some(({ path }) => path === it))
  );
  assertEquals(named.map(({ path }) => path), []);
});

Deno.test("a kind of adapter is named only in its own file and the registry", () => {
  const folder = "lib/engine/adapters";
  const named = [...sources(folder), ...codeOutside(folder)]
    .flatMap((source) => [
      ...ADAPTER_KINDS.filter((kind) => source.text.includes(`"${kind}"`))
        .map((kind) => `${kind} in ${source.path}`),
      ...importsOf(source).filter((path) => dirname(path) === folder)
        .map((path) => `${basename(path, ".ts")} in ${source.path}`),
    ])
    // "lora" is the name of a schedule as well, and what others read is in
    // adapter.ts, registry.ts and scale.ts.
    .filter((it) => ADAPTER_KINDS.slice(1).some((kind) => it.startsWith(kind)));
  assertEquals(
    named.sort(),
    ADAPTER_KINDS.slice(1).flatMap((kind) => [
      `${kind} in ${folder}/${kind}.ts`,
      `${kind} in ${folder}/registry.ts`,
    ]).sort(),
  );
});

Deno.test("a schedule's name is compared only in its own file and the registry", () => {
  const compared = codeOutside("lib/engine/schedules").filter(({ text }) =>
    /\bmethod\s*[!=]==?\s*["'`]|\bcase "(?:dylora|lora|matryoshka|head|full)"/
      .test(text)
  );
  assertEquals(compared.map(({ path }) => path), []);
});

Deno.test("tasks/ holds task modules only", () => {
  const others = [...Deno.readDirSync(join(ROOT, "tasks"))]
    .filter(({ name }) => name !== "README.md" && !name.endsWith(".ts"));
  assertEquals(others, []);
  const helpers = [...sources("tasks")].filter(({ text }) =>
    !text.includes("export default defineTask({")
  );
  assertEquals(helpers.map(({ path }) => path), []);
});

Deno.test("no two names differ by a hyphen or an underscore only", () => {
  const names = new Set(
    all.filter(({ path }) => roomOf(path) !== undefined)
      .map(({ path }) => basename(path)),
  );
  const alike = Map.groupBy(names, (name) => name.replace(/[-_]/g, ""));
  assertEquals([...alike.values()].filter((found) => found.length > 1), []);
});

Deno.test("the packages that the product is built on are used: tfjs-node-gpu, @std/cli, @std/yaml, @std/assert, zod", () => {
  const used = (name: string) =>
    all.some(({ text }) =>
      new RegExp(`(from|import|require)[\\s(]*"${name}`).test(text)
    );
  const packages = ["@std/cli/", "@std/yaml", "@std/assert", "zod"];
  assertEquals(
    [...packages, "@tensorflow/tfjs-node-gpu/"].filter((it) => !used(it)),
    [],
  );
});

Deno.test("no module has a vague name such as utils or types", () => {
  const vague = all.map(({ path }) => path)
    .filter((it) =>
      /(^|\/)(utils?|helpers?|common|misc|index|types|lib)\.ts$/.test(it)
    );
  assertEquals(vague, []);
});

Deno.test("no file contains a path of the machine on which it was written", () => {
  const pipelines = [...Deno.readDirSync(join(ROOT, "pipelines"))]
    .filter(({ isFile }) => isFile).map(({ name }) => `pipelines/${name}`);
  const texts = [
    ...all,
    ...["README.md", "deno.json", "deno.lock", ...pipelines].map((path) => ({
      path,
      text: Deno.readTextFileSync(join(ROOT, path)),
    })),
  ];
  // Tests make up homes of their own.
  const home = /["'`\s(]\/(home|root|Users)\/[\w.-]+/;
  const found = texts.filter(({ path, text }) =>
    text.includes(ROOT) || !path.startsWith("tests/") && home.test(text)
  ).map(({ path }) => path);
  assertEquals(found, []);
});

Deno.test("the top level and lib/ hold only the known files and folders", () => {
  const allowed = new Set([
    "deno.json",
    "deno.lock",
    "fixtures",
    "lib",
    "LICENSE",
    "node_modules",
    "out",
    "pipelines",
    "README.md",
    "tasks",
    "tests",
  ]);
  const others = [...Deno.readDirSync(ROOT)].map(({ name }) => name)
    .filter((it) => !it.startsWith(".") && !allowed.has(it));
  assertEquals(others, []);
  const rooms = [...Deno.readDirSync(join(ROOT, "lib"))]
    .map(({ name }) => `lib/${name}`)
    .filter((it) =>
      !(it in KNOWS) && !["lib/README.md", "lib/std.d.ts"].includes(it)
    );
  assertEquals(rooms, []);
});

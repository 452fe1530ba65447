/** What Deno says of modules: where their imports lead, and what it makes of TypeScript. */
import { parse } from "@std/jsonc";
import { digest } from "../files/digest.ts";
import { readIfThere } from "../files/files.ts";
import { fingerprint } from "../files/fingerprints.ts";
import { dirname, fromFileUrl, join, resolve } from "../files/paths.ts";

/** The modules that entries import, directly or not, as Deno resolves them. */
export type ModuleGraph = Awaited<ReturnType<typeof moduleGraph>>;

/** A module, as `deno info --json` describes it. */
export interface Module {
  readonly specifier: string;
  readonly kind?: string;
  readonly mediaType?: string;
  /** File that has its content. */
  readonly local?: string;
  readonly npmPackage?: string;
  readonly error?: string;
  readonly dependencies?: readonly {
    readonly specifier: string;
    readonly code?: { readonly specifier?: string; readonly error?: string };
  }[];
}

/**
 * Resolves the modules of a project as its `deno.json` and lock file say.
 * Packages that are missing are installed.
 *
 * @param entries URLs of modules.
 * @param project Folder of `deno.json`.
 * @throws {Error} If `deno.json` is missing or invalid, or does not agree with the lock file.
 */
export async function moduleGraph(
  entries: readonly string[],
  project: string,
) {
  const path = join(project, "deno.json");
  const lock = join(project, "deno.lock");
  const config = parsedFile(path);
  if (config === undefined) throw new Error(`"${path}" does not exist`);
  const { compilerOptions = {}, importMap, nodeModulesDir, links = [] } =
    config as Readonly<{
      compilerOptions?: object;
      importMap?: string;
      nodeModulesDir?: string;
      links?: readonly string[];
    }>;
  const flags = [
    ...["--allow-import", "--config", path],
    ...(nodeModulesDir === "manual" ? [] : ["--node-modules-dir=auto"]),
    ...(fingerprint(lock) === undefined
      ? ["--no-lock"]
      : ["--lock", lock, "--frozen"]),
  ];
  const began = Date.now();
  // One module that imports all entries: one call of Deno.
  const imports = entries.map((it) => `import ${JSON.stringify(it)};`).join("");
  const entry = `data:application/javascript,${encodeURIComponent(imports)}`;
  const { modules, ...found } = JSON.parse(
    await deno(project, "info", "--json", ...flags, entry),
  ) as {
    readonly modules: readonly Module[];
    readonly redirects: Readonly<Record<string, string>>;
    /** Packages by name and version, with their folders. */
    readonly npmPackages: Readonly<
      Record<string, Record<"name" | "version" | "localPath", string>>
    >;
  };
  const linked = new Map<string, string>();
  for (const link of links.map((it) => resolve(project, it))) {
    const { name, version } = parsedFile(join(link, "package.json")) ?? {};
    const copy = Object.values(found.npmPackages)
      .find((it) => it.name === name && it.version === version);
    if (copy !== undefined) linked.set(copy.localPath, link);
  }
  const folders = modules
    .filter(({ specifier }) => specifier.startsWith("file:"))
    .map(({ specifier }) => dirname(fromFileUrl(specifier)));
  // A later version of these modules may bundle otherwise.
  const own = ["./module_graph.ts", "./bundle.ts"]
    .map((it) => fromFileUrl(import.meta.resolve(it)));
  const files = new Set([
    ...[path, lock, join(project, "package.json"), ...own],
    ...(importMap === undefined ? [] : [resolve(project, importMap)]),
    ...configurations([project, ...linked.values(), ...folders]),
  ]);
  return {
    ...found,
    /** By specifier. */
    modules: new Map(modules.map((it) => [it.specifier, it])),
    /** By folder of a package in `node_modules`, the folder that `links` of `deno.json` names for it. */
    linked,
    compilerOptions,
    /** Files besides modules that a bundle depends on, with their SHA-256; empty for a file that does not exist. */
    files: await Promise.all([...files].map(async (it) => {
      const text = readIfThere(it);
      // A file that has just changed may not be the one that Deno has read.
      const isSame = text !== undefined && fingerprint(it)!.changed < began;
      return [it, isSame ? await digest(text) : ""] as const;
    })),
  };
}

/** Files in some folders and above that may say where imports lead: those of a workspace, of its members, and of linked packages. */
function configurations(folders: readonly string[]): string[] {
  const all = new Set(folders);
  for (const folder of all) all.add(dirname(folder));
  return [...all].flatMap((folder) =>
    ["deno.json", "deno.jsonc", "package.json"]
      .map((name) => join(folder, name))
  ).filter((path) => fingerprint(path) !== undefined);
}

/** Media types that Deno does not run as they are. */
const COMPILED = /^(TypeScript|Mts|Cts|TSX|JSX)$/;

/**
 * What Deno runs in place of modules in TypeScript and JSX: JavaScript, with a
 * source map in its last line if `maps` is true.
 *
 * @param contentOf Reads a module.
 */
export async function compiled(
  all: Iterable<Module>,
  contentOf: (module: Module) => Uint8Array,
  compilerOptions: object,
  maps = false,
): Promise<Map<Module, string>> {
  const modules = [...all].filter(({ mediaType = "", local }) =>
    local !== undefined && COMPILED.test(mediaType)
  );
  if (modules.length === 0) return new Map();
  const folder = Deno.makeTempDirSync({ prefix: "dylora-code-" });
  try {
    const config = JSON.stringify({ compilerOptions });
    Deno.writeTextFileSync(join(folder, "deno.json"), config);
    const names = modules.map(({ mediaType }, i) =>
      `${i}.${mediaType!.endsWith("X") ? mediaType!.toLowerCase() : "ts"}`
    );
    names.forEach((name, i) =>
      Deno.writeFileSync(join(folder, name), contentOf(modules[i]!))
    );
    const flags = ["--source-map", maps ? "separate" : "none"];
    const args = ["--quiet", ...flags, "--outdir", "js", ...names];
    await deno(folder, "transpile", ...args);
    return new Map(modules.map((module, i) => {
      const path = join(folder, `js/${i}.js`);
      const text = Deno.readTextFileSync(path);
      if (!maps) return [module, text];
      const map = JSON.parse(Deno.readTextFileSync(`${path}.map`));
      const sources = JSON.stringify({ ...map, sources: [module.local] });
      const data = new TextEncoder().encode(sources).toBase64();
      const url = `data:application/json;base64,${data}`;
      return [module, `${text}\n//# sourceMappingURL=${url}`];
    }));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function parsedFile(path: string): Record<string, unknown> | undefined {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  try {
    return parse(text) as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const message = `"${path}" is not valid JSON: ${error.message}`;
    throw new Error(message, { cause: error });
  }
}

async function deno(folder: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: folder,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  const why = decoder.decode(stderr).trim().replace(/^error: /, "");
  throw new Error(`Cannot read the project's modules: ${why}`);
}

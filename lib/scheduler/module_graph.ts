/**
 * What Deno says of modules: where their imports lead, and what it makes of
 * TypeScript.
 */
import { parse } from "@std/jsonc";
import { digest } from "../files/digest.ts";
import { readIfThere } from "../files/files.ts";
import { fingerprint } from "../files/fingerprints.ts";
import { dirname, fromFileUrl, join, resolve } from "../files/paths.ts";

/** The modules that entries import, directly or not, as Deno resolves them. */
export interface ModuleGraph {
  /** By specifier. */
  readonly modules: ReadonlyMap<string, Module>;
  /** Specifiers that lead to others. */
  readonly redirects: Readonly<Record<string, string>>;
  /** Packages by name and version. */
  readonly npmPackages: Readonly<Record<string, InstalledPackage>>;
  /**
   * Packages whose files the user edits: by folder of a package in
   * `node_modules`, the folder that `links` of `deno.json` names for it; and
   * `node_modules` itself, if the user fills it.
   */
  readonly linked: ReadonlyMap<string, string>;
  readonly compilerOptions: CompilerOptions;
  /**
   * Files besides modules that a bundle depends on, with their SHA-256; empty
   * for a file that does not exist.
   */
  readonly files: readonly (readonly [path: string, raw: string])[];
}

/** An npm package, as `deno info --json` describes it. */
export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
  /** Its folder. */
  readonly localPath: string;
}

/** `compilerOptions` of a project. */
export interface CompilerOptions {
  /** Those of its `deno.json`. */
  readonly project: object;
  /** Those of the members of its workspace, by folder. */
  readonly members: ReadonlyMap<string, object>;
}

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
 * @throws {Error} If `deno.json` is missing or invalid, or does not agree with
 * the lock file.
 */
export async function moduleGraph(
  entries: readonly string[],
  project: string,
): Promise<ModuleGraph> {
  const path = join(project, "deno.json");
  const lock = join(project, "deno.lock");
  const config: Configuration | undefined = parsedFile(path);
  if (config === undefined) throw new Error(`"${path}" does not exist`);
  const { compilerOptions = {}, importMap, nodeModulesDir } = config;
  const { workspace = [] } = config;
  const flags = [
    "--allow-import",
    "--config",
    path,
    ...(nodeModulesDir === "manual" ? [] : ["--node-modules-dir=auto"]),
    ...(fingerprint(lock) === undefined
      ? ["--no-lock"]
      : ["--lock", lock, "--frozen"]),
  ];
  const began = Date.now();
  // One module that imports all entries: one call of Deno.
  const imports = entries.map((it) => `import ${JSON.stringify(it)};`).join("");
  const entry = `data:application/javascript,${encodeURIComponent(imports)}`;
  const { modules, redirects, npmPackages } = JSON.parse(
    await deno(project, "info", "--json", ...flags, entry),
  ) as Pick<ModuleGraph, "redirects" | "npmPackages"> & {
    readonly modules: readonly Module[];
  };
  const linked = linkedPackages(config, project, npmPackages);
  const folders = modules
    .filter(({ specifier }) => specifier.startsWith("file:"))
    .map(({ specifier }) => dirname(fromFileUrl(specifier)));
  // A later version of these modules may bundle otherwise.
  const bundlers = [
    "./module_graph.ts",
    "./module_code.ts",
    "./esbuild_plugin.ts",
    "./bundle.ts",
  ].map((it) => fromFileUrl(import.meta.resolve(it)));
  const files = new Set([
    path,
    lock,
    join(project, "package.json"),
    ...bundlers,
    ...(importMap === undefined ? [] : [resolve(project, importMap)]),
    ...configurations([project, ...linked.values(), ...folders]),
  ]);
  const members = "members" in workspace ? workspace.members : workspace;
  return {
    modules: new Map(modules.map((it) => [it.specifier, it])),
    redirects,
    npmPackages,
    linked,
    compilerOptions: {
      project: compilerOptions,
      members: members.length === 0
        ? new Map()
        : memberOptions(project, members, folders),
    },
    files: await Promise.all([...files].map(async (it) => {
      const text = readIfThere(it);
      // A file that has just changed may not be the one that Deno has read.
      const isSame = text !== undefined && fingerprint(it)!.changed < began;
      return [it, isSame ? await digest(text) : ""] as const;
    })),
  };
}

function linkedPackages(
  { links = [], nodeModulesDir }: Configuration,
  project: string,
  npmPackages: ModuleGraph["npmPackages"],
): ModuleGraph["linked"] {
  const linked = new Map<string, string>();
  for (const link of links.map((it) => resolve(project, it))) {
    const { name, version } = parsedFile(join(link, "package.json")) ?? {};
    const copy = Object.values(npmPackages)
      .find((it) => it.name === name && it.version === version);
    if (copy !== undefined) linked.set(copy.localPath, link);
  }
  if (nodeModulesDir === "manual") {
    const installed = join(project, "node_modules");
    linked.set(installed, installed);
  }
  return linked;
}

/** What is read of a `deno.json`. */
interface Configuration {
  readonly compilerOptions?: object;
  readonly importMap?: string;
  readonly nodeModulesDir?: string;
  readonly links?: readonly string[];
  readonly workspace?: readonly string[] | {
    readonly members: readonly string[];
  };
}

/**
 * `compilerOptions` of the members of a workspace, by folder.
 *
 * @param members Paths as in `deno.json`: `./a`, `packages/*`.
 * @param folders Folders of modules; members without a module are left out.
 */
function memberOptions(
  project: string,
  members: readonly string[],
  folders: readonly string[],
): Map<string, object> {
  const patterns = members.map((it) =>
    new URLPattern({ pathname: resolve(project, it) })
  );
  const options = new Map<string, object>();
  for (const path of configurations(folders)) {
    const folder = dirname(path);
    const isMember = path.endsWith("/package.json") === false &&
      patterns.some((it) => it.test({ pathname: folder }));
    if (!isMember || options.has(folder)) continue;
    const { compilerOptions = {} } = parsedFile(path) as Configuration;
    options.set(folder, compilerOptions);
  }
  return options;
}

/**
 * Files in some folders and above that may say where imports lead: those of a
 * workspace, of its members, and of linked packages.
 */
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
 * @param options Deno applies those of a member to the modules in its folder.
 */
export async function compiled(
  all: Iterable<Module>,
  contentOf: (module: Module) => Uint8Array,
  options: CompilerOptions,
  maps = false,
): Promise<Map<Module, string>> {
  const modules = [...all].filter(({ mediaType = "", local }) =>
    local !== undefined && COMPILED.test(mediaType)
  );
  // The longest first: a member may lie in another one's folder.
  const members = [...options.members.keys()]
    .sort((one, other) => other.length - one.length);
  if (modules.length === 0) return new Map();
  const folder = Deno.makeTempDirSync({ prefix: "dylora-code-" });
  try {
    writeConfiguration(folder, {
      compilerOptions: options.project,
      workspace: members.map((_, i) => `./member${i}`),
    });
    members.forEach((member, i) => {
      const path = join(folder, `member${i}`);
      Deno.mkdirSync(path);
      writeConfiguration(path, {
        compilerOptions: options.members.get(member)!,
      });
    });
    const names = modules.map(({ mediaType, local }, i) => {
      const name = `${i}.${
        mediaType!.endsWith("X") ? mediaType!.toLowerCase() : "ts"
      }`;
      const member = members.findIndex((it) => local!.startsWith(`${it}/`));
      return member < 0 ? name : `member${member}/${name}`;
    });
    names.forEach((name, i) =>
      Deno.writeFileSync(join(folder, name), contentOf(modules[i]!))
    );
    const flags = ["--source-map", maps ? "separate" : "none"];
    const args = ["--quiet", ...flags, "--outdir", "js", ...names];
    await deno(folder, "transpile", ...args);
    return new Map(modules.map((module, i) => {
      const path = join(folder, "js", names[i]!.replace(/\.\w+$/, ".js"));
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

function writeConfiguration(folder: string, content: Configuration): void {
  Deno.writeTextFileSync(join(folder, "deno.json"), JSON.stringify(content));
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
  const env: Record<string, string> = { NO_COLOR: "1" };
  // A relative one would be another folder from there.
  const cache = Deno.env.get("DENO_DIR");
  if (cache) env.DENO_DIR = resolve(Deno.cwd(), cache);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: folder,
    env,
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  const why = decoder.decode(stderr).trim().replace(/^error: /, "");
  throw new Error(`Cannot read the project's modules: ${why}`);
}

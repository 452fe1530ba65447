import { digest } from "../files/digest.ts";
import { readIfThere } from "../files/files.ts";
import { fromFileUrl, join } from "../files/paths.ts";
import { fingerprint } from "../files/fingerprints.ts";

/** The modules that entries import, directly or not, as Deno resolves them. */
export interface ModuleGraph {
  /** By specifier. */
  readonly modules: ReadonlyMap<string, Module>;
  readonly redirects: Readonly<Record<string, string>>;
  /** Packages by name and version, with their folders. */
  readonly npmPackages?: Readonly<
    Record<string, { readonly localPath: string }>
  >;
  /** Compiler options that change what a module does, in the form of `tsconfig.json`. */
  readonly tsconfig: Tsconfig;
  /** Files besides modules that a bundle depends on, with their SHA-256; empty for a file that does not exist. */
  readonly files: readonly (readonly [path: string, raw: string])[];
}

export type Tsconfig = {
  readonly compilerOptions: Readonly<Record<string, unknown>>;
};

/** A module, as `deno info --json` describes it. */
interface Module {
  readonly specifier: string;
  /** File that has its text. */
  readonly local?: string;
  readonly npmPackage?: string;
  readonly error?: string;
  readonly dependencies?: readonly {
    readonly specifier: string;
    readonly code?: { readonly specifier?: string; readonly error?: string };
  }[];
}

const EMIT_OPTIONS =
  /^(jsx.*|experimentalDecorators|useDefineForClassFields|verbatimModuleSyntax)$/;

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
): Promise<ModuleGraph> {
  const path = join(project, "deno.json");
  const lock = join(project, "deno.lock");
  const text = readIfThere(path);
  if (text === undefined) throw new Error(`"${path}" does not exist`);
  const { compilerOptions = {}, importMap, nodeModulesDir } = parse(text, path);
  // A later version of these modules may bundle otherwise.
  const own = ["./module_graph.ts", "./bundle.ts"]
    .map((it) => fromFileUrl(import.meta.resolve(it)));
  const files = [path, lock, join(project, "package.json"), ...own];
  if (typeof importMap === "string") files.push(join(project, importMap));
  const digests = await Promise.all(files.map(async (it) => {
    const text = readIfThere(it);
    return [it, text === undefined ? "" : await digest(text)] as const;
  }));
  const flags = [
    ...["--config", path],
    ...(nodeModulesDir === "manual" ? [] : ["--node-modules-dir=auto"]),
    ...(fingerprint(lock) === undefined
      ? ["--no-lock"]
      : ["--lock", lock, "--frozen"]),
  ];
  // One module that imports all entries: one call of Deno.
  const imports = entries.map((it) => `import ${JSON.stringify(it)};`).join("");
  const entry = `data:application/javascript,${encodeURIComponent(imports)}`;
  const ask = async (): Promise<
    & Pick<ModuleGraph, "redirects" | "npmPackages">
    & { readonly modules: readonly Module[] }
  > => JSON.parse(await deno(project, "info", "--json", ...flags, entry));
  let info = await ask();
  const packages = Object.values(info.npmPackages ?? {});
  if (packages.some((it) => fingerprint(it.localPath) === undefined)) {
    const install = ["install", "--quiet", ...flags, "--entrypoint"];
    await deno(project, ...install, ...entries);
    info = await ask();
  }
  const options = Object.entries(compilerOptions as object)
    .filter(([name]) => EMIT_OPTIONS.test(name));
  return {
    ...info,
    modules: new Map(info.modules.map((it) => [it.specifier, it])),
    tsconfig: { compilerOptions: Object.fromEntries(options) },
    files: digests,
  };
}

function parse(text: string, path: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Error(`"${path}" is not valid JSON: ${error.message}`, {
      cause: error,
    });
  }
}

async function deno(project: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: project,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  throw new Error(
    `Cannot read the project's modules: ${
      decoder.decode(stderr).trim().replace(/^error: /, "")
    }`,
  );
}

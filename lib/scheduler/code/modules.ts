import { digest } from "../../store/digest.ts";
import { fingerprint } from "../../store/fingerprint.ts";
import { fileURLToPath } from "node:url";
import { projectFlags } from "./project.ts";

/** A module as the runtime resolves it. */
export interface Module {
  readonly specifier: string;
  /** File that holds it. */
  readonly path: string;
  /** As `deno info` names it: `TypeScript`, `Json`. */
  readonly mediaType: string;
  readonly text: Uint8Array;
  /** SHA-256 of the text. */
  readonly raw: string;
  /** Where each import that is not of types only leads: a module, a package (`npm:`) or a built-in (`node:`). */
  readonly imports: ReadonlyMap<string, string>;
}

/** Modules that entries import, directly or not, and the packages that these import. */
export interface ModuleGraph {
  readonly modules: ReadonlyMap<string, Module>;
  /** Packages by `name@version`, with the packages that each needs. */
  readonly packages: ReadonlyMap<string, readonly string[]>;
}

/** The part of `deno info --json` that is used. */
interface Info {
  readonly modules: readonly {
    readonly specifier: string;
    readonly kind?: string;
    readonly local?: string;
    readonly mediaType?: string;
    readonly npmPackage?: string;
    readonly error?: string;
    readonly dependencies?: readonly {
      readonly specifier: string;
      readonly code?: { readonly specifier?: string; readonly error?: string };
    }[];
  }[];
  readonly redirects: Readonly<Record<string, string>>;
  readonly npmPackages?: Readonly<
    Record<string, { readonly dependencies: readonly string[] }>
  >;
}

/** Milliseconds in which a write may not show in a file's times. */
const TICK = 50;
const TRIES = 20;

/**
 * The module graph of an entry module, found by the runtime itself, with the
 * texts that it was found from.
 *
 * @throws {Error} If a module is missing or does not parse, or files never hold still.
 */
export async function moduleGraph(
  entry: string,
  project: string,
): Promise<ModuleGraph> {
  await install(entry, project);
  let before: ModuleGraph | undefined;
  for (let tries = 0; tries < TRIES; tries++) {
    const start = Date.now();
    const info = await denoInfo(entry, project);
    const graph = read(info);
    const quiet = [...graph.modules.values()].every(({ path }) =>
      (fingerprint(path)?.modified ?? Infinity) < start - TICK
    );
    // A time that lies in the future, as after the clock was set back, says nothing.
    if (quiet || (before !== undefined && equal(before, graph))) return graph;
    before = graph;
    await new Promise((resolve) => setTimeout(resolve, 2 * TICK));
  }
  throw new Error(
    "The project's modules keep changing; run again when they are saved",
  );
}

/** True if all modules are the same, with the same texts. */
function equal({ modules: a }: ModuleGraph, { modules: b }: ModuleGraph) {
  return a.size === b.size &&
    [...a].every(([specifier, { raw }]) => b.get(specifier)?.raw === raw);
}

/** Fetches the packages that the modules import, if they are not there yet. */
async function install(entry: string, project: string): Promise<void> {
  await deno(
    "install",
    "--quiet",
    ...projectFlags(project),
    "--entrypoint",
    entry,
  );
}

async function denoInfo(entry: string, project: string): Promise<Info> {
  const json = await deno("info", "--json", ...projectFlags(project), entry);
  return JSON.parse(json) as Info;
}

async function deno(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  const message = decoder.decode(stderr).trim().replace(/^error: /, "");
  throw new Error(`The project's modules cannot be read: ${message}`);
}

function read(info: Info): ModuleGraph {
  const modules = new Map<string, Module>();
  const ends = new Map<string, string>();
  for (const { specifier, npmPackage } of info.modules) {
    if (npmPackage !== undefined) ends.set(specifier, `npm:${npmPackage}`);
  }
  const resolve = (specifier: string): string => {
    const target = info.redirects[specifier] ?? specifier;
    return ends.get(target) ?? target;
  };
  for (const module of info.modules) {
    if (module.error !== undefined) throw new Error(plain(module.error));
    if (module.local === undefined) continue;
    const text = Deno.readFileSync(module.local);
    const imports = new Map<string, string>();
    for (const { specifier, code } of module.dependencies ?? []) {
      if (code?.error !== undefined) {
        throw new Error(
          `"${specifier}", imported by "${name(module.specifier)}": ${
            plain(code.error)
          }`,
        );
      }
      if (code?.specifier !== undefined) {
        imports.set(specifier, resolve(code.specifier));
      }
    }
    modules.set(module.specifier, {
      specifier: module.specifier,
      path: module.local,
      mediaType: module.mediaType ?? "Unknown",
      text,
      raw: digest(text),
      imports,
    });
  }
  return {
    modules,
    packages: new Map(
      Object.entries(info.npmPackages ?? {})
        .map(([name, { dependencies }]) => [name, dependencies]),
    ),
  };
}

function name(specifier: string): string {
  return specifier.startsWith("file:") ? fileURLToPath(specifier) : specifier;
}

function plain(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/\x1b\[[0-9;]*m/g, "").trim();
}

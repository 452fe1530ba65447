import * as esbuild from "esbuild";
import type { Module } from "./modules.ts";
import type { EmitOptions } from "./project.ts";

const LOADERS: Readonly<Record<string, esbuild.Loader>> = {
  TypeScript: "ts",
  Mts: "ts",
  Cts: "ts",
  JavaScript: "js",
  Mjs: "js",
  Cjs: "js",
};

/** What a module is reduced to: what it does, without comments, types and formatting. */
export interface Reduced {
  readonly text: string;
  /** Specifiers of the imports that remain: those of types only are gone. */
  readonly imports: readonly string[];
}

/**
 * True if the module can be reduced. Others count as they are: data, and JSX,
 * whose comments can say what it is compiled to.
 */
export function isReducible(module: Pick<Module, "mediaType">): boolean {
  return module.mediaType in LOADERS;
}

/**
 * Reduces modules to what they do. esbuild parses and prints them: comments,
 * types, white space, quotes and number formats go; names, order and
 * statements stay, whether used or not.
 *
 * The printed text has one statement a line, so that it can be compared.
 *
 * @throws {Error} If a module does not parse.
 */
export async function reduceModules(
  modules: readonly Module[],
  options: EmitOptions,
): Promise<Map<string, Reduced>> {
  const reduced = await Promise.all(modules.map(async (module) => {
    const { code } = await reduceText(module, options);
    return [module.specifier, {
      text: code,
      imports: await remainingImports(code),
    }] as const;
  }));
  return new Map(reduced);
}

/**
 * One module's reduced text, with a source map that leads back to its lines.
 * Printing without white space first takes away the comments within
 * expressions that esbuild would keep otherwise.
 */
export async function reduceText(
  module: Pick<Module, "mediaType" | "text" | "path">,
  options: EmitOptions,
): Promise<{ code: string; map: string }> {
  const common = {
    legalComments: "none",
    target: "esnext",
    charset: "utf8",
    logLevel: "silent",
    sourcesContent: false,
    tsconfigRaw: { compilerOptions: options },
  } as const;
  const bare = await esbuild.transform(module.text, {
    ...common,
    loader: LOADERS[module.mediaType]!,
    minifyWhitespace: true,
    sourcemap: "inline",
    sourcefile: module.path,
  });
  return await esbuild.transform(bare.code, {
    ...common,
    loader: "js",
    sourcemap: "external",
    sourcefile: module.path,
  });
}

/** Ends esbuild's process, which would keep the program from ending. */
export async function stopReducing(): Promise<void> {
  await esbuild.stop();
}

async function remainingImports(code: string): Promise<string[]> {
  const imports = new Set<string>();
  await esbuild.build({
    stdin: { contents: code, loader: "js" },
    bundle: true,
    write: false,
    format: "esm",
    logLevel: "silent",
    plugins: [{
      name: "imports",
      setup(build) {
        build.onResolve({ filter: /.*/ }, ({ path }) => {
          imports.add(path);
          return { path, external: true };
        });
      },
    }],
  });
  return [...imports].sort();
}

/** The code of a module, as esbuild gets it. */
import type { OnLoadResult, PluginBuild } from "esbuild";
import { dirname } from "../files/paths.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** True for JavaScript without imports and exports. */
export async function isScript(code: string): Promise<boolean> {
  const esbuild = await import("esbuild");
  const { metafile } = await esbuild.build({
    stdin: { contents: code, loader: "js" },
    bundle: true,
    write: false,
    metafile: true,
    packages: "external",
    external: ["*"],
    format: "esm",
    outdir: "/",
    logLevel: "silent",
  });
  return Object.values(metafile.inputs)[0]?.format !== "esm";
}

/**
 * A module that only exports an ES module of a package again, so that esbuild
 * resolves that module itself.
 */
export async function entryCode(
  path: string,
  { esbuild }: PluginBuild,
): Promise<OnLoadResult> {
  const { metafile } = await esbuild.build({
    entryPoints: [path],
    bundle: false,
    write: false,
    metafile: true,
    outdir: "/",
    logLevel: "silent",
  });
  const [output] = Object.values(metafile.outputs);
  const from = JSON.stringify(path);
  // "export *" leaves the default export out.
  const contents = output!.exports.includes("default")
    ? `export * from ${from}; export { default } from ${from};`
    : `export * from ${from};`;
  return { contents, resolveDir: dirname(path) };
}

/** JSON as a module with a default export alone. */
export function jsonCode(contents: Bytes, name: string): string {
  const text = new TextDecoder().decode(contents);
  try {
    // As text, since a property `__proto__` is none in an object literal.
    const value = JSON.stringify(JSON.stringify(JSON.parse(text)));
    return `export default /* @__PURE__ */ JSON.parse(${value});`;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Error(`"${name}" is not valid JSON: ${error.message}`);
  }
}

/** A file of Deno's cache as the server has sent it: Deno may add a line. */
export function withoutMetadata(file: Bytes): Bytes {
  // As Latin-1, each character is a byte.
  const text = new TextDecoder("latin1").decode(file);
  const end = text.lastIndexOf("\n// denoCacheMetadata=");
  return end < 0 ? file : file.subarray(0, end);
}

/** A WebAssembly module as JavaScript that imports and exports the same. */
export function wasmCode(bytes: Bytes): string {
  const module = new WebAssembly.Module(bytes);
  const from = [
    ...new Set(WebAssembly.Module.imports(module).map(({ module }) => module)),
  ].map((name) => JSON.stringify(name));
  return [
    ...from.map((name, i) => `import * as m${i} from ${name};`),
    `const bytes = Uint8Array.fromBase64("${bytes.toBase64()}");`,
    "const module = new WebAssembly.Module(bytes);",
    `const imports = { ${from.map((name, i) => `${name}: m${i}`)} };`,
    "const { exports } = new WebAssembly.Instance(module, imports);",
    ...WebAssembly.Module.exports(module).map(({ name }, i) => {
      const quoted = JSON.stringify(name);
      return `const e${i} = exports[${quoted}]; export { e${i} as ${quoted} };`;
    }),
  ].join("\n");
}

/**
 * JavaScript without comments, which esbuild otherwise keeps within
 * expressions.
 *
 * @param maps True to add a source map, from that in the code if it has one.
 * @param define Names that the code does not declare, and what takes their
 * place.
 */
export async function withoutComments(
  code: string,
  path: string,
  maps = false,
  define: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { transform } = await import("esbuild");
  const made = await transform(code, {
    define,
    minifyWhitespace: true,
    legalComments: "none",
    target: "esnext",
    charset: "utf8",
    logLevel: "silent",
    sourcefile: path,
    ...(maps && { sourcemap: "inline", sourcesContent: false }),
  });
  return made.code;
}

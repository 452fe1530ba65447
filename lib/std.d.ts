/**
 * Types of the modules of the Deno standard library that are used here. They
 * come from the npm package deno-std, which has none; the signatures are those
 * of the library itself.
 */

declare module "@std/yaml" {
  /** Syntax error with its place; line and column are 1-based. */
  export class YamlSyntaxError extends SyntaxError {
    readonly line: number;
    readonly column: number;
    readonly offset: number;
  }

  /** Parses one YAML document. */
  export function parse(
    content: string,
    options?: { readonly schema?: "core" | "default" | "failsafe" | "json" },
  ): unknown;
}

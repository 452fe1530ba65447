/**
 * Types of the modules of the Deno standard library that are used here. They
 * come from the npm package deno-std, which has none; the signatures are those
 * of the library itself.
 */

declare module "@std/cli/parse-args" {
  /** Parses command-line arguments; those without a leading `-` are in `_`. */
  export function parseArgs(
    args: readonly string[],
    options: {
      /** Options without a value. */
      boolean?: readonly string[];
      /** Options whose values stay strings; `_` stands for the positionals. */
      string?: readonly string[];
      /** Options whose values are gathered in an array. */
      collect?: readonly string[];
      /** Called for everything that is not declared; false drops it. */
      unknown?: (arg: string, key?: string, value?: unknown) => unknown;
    },
  ): { _: string[]; [name: string]: unknown };
}

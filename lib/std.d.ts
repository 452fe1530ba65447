/**
 * Types of what is used of packages without types: the Deno standard library,
 * in the npm package deno-std, with the signatures of the library itself,
 * vega-statistics, and a function of JSON.
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
    },
  ): { _: string[]; [name: string]: unknown };
}

declare module "@std/jsonc" {
  /** Parses JSON with comments and trailing commas; throws SyntaxError. */
  export function parse(text: string): unknown;
}

declare module "@std/path/glob-to-regexp" {
  /** Converts a glob to a regular expression that matches whole paths. */
  export function globToRegExp(
    glob: string,
    options?: { readonly extended?: boolean },
  ): RegExp;
}

declare module "@std/path/posix/basename" {
  /** The last part of a path, without a suffix. */
  export function basename(path: string, suffix?: string): string;
}

declare module "@std/path/posix/extname" {
  /** The end of the last part of a path, from its last dot: `.tsv`. */
  export function extname(path: string): string;
}

declare module "@std/path/posix/join" {
  /** Joins parts to a path, without `.` and `..` in it. */
  export function join(...paths: readonly string[]): string;
}

declare module "@std/text/closest-string" {
  /**
   * The word that is closest to a given one by edit distance; case does not
   * count.
   */
  export function closestString(
    givenWord: string,
    possibleWords: readonly string[],
  ): string;
}

declare module "@std/text/levenshtein-distance" {
  /** Number of insertions, deletions and replacements between two texts. */
  export function levenshteinDistance(str1: string, str2: string): number;
}

declare module "@std/yaml" {
  /** Writes a value as one YAML document. */
  export function stringify(
    data: unknown,
    options?: {
      /** Depth from which mappings and lists are on one line: `{a: 1}`. */
      readonly flowLevel?: number;
      readonly lineWidth?: number;
    },
  ): string;

  /** Parses one YAML document. */
  export function parse(
    content: string,
    options?: { readonly schema?: "core" | "default" | "failsafe" | "json" },
  ): unknown;
}

declare module "@std/async/delay" {
  /** Resolves after some milliseconds, or rejects when the signal aborts. */
  export function delay(
    ms: number,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<void>;
}

declare module "vega-statistics" {
  /** Quantile of the normal distribution, by default of the standard one. */
  export function quantileNormal(
    share: number,
    mean?: number,
    deviation?: number,
  ): number;
}

/** Of ES2026, which TypeScript does not declare yet. */
interface JSON {
  rawJSON(text: string): unknown;
}

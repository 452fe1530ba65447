/** Reads YAML into plain values. */
import { parse } from "@std/yaml";
import { isMapping, LIMITS } from "./faults.ts";
import type { YamlDocument } from "./places.ts";
import { findMask, mask, unmask } from "./references.ts";

/** A YAML text as a value. */
interface Read {
  readonly value: unknown;
  /** The text with places; present if it has faults or needed a second reader. */
  readonly document?: YamlDocument;
}

/**
 * Forms that YAML 1.1 and 1.2, or lenient and strict readers, read differently.
 *
 * The expression may match text that all readers agree on, but not miss text
 * that they read differently.
 */
const UNCOMMON = new RegExp(
  [
    // Tabs, control characters, lone carriage returns and surrogates
    // deno-lint-ignore no-control-regex
    /[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|\r(?!\n)/,
    /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/,
    // Tags, anchors and aliases; "?" before a key, ":" without one
    /(?<![^\s,[\]{}:])(?:[!&*](?![\s\ue000-\ue004])|[?:](?![^\s,[\]{}]))/,
    // Lists and mappings as keys, or with text right behind them; missing items
    /[\]}]\s*:|[\]}](?! *(?:[\r\n,\]}]|$| #))|[[,]\s*,|(?<![^\s])- *(?:#.*)?\r?$/,
    // Directives and document markers
    /^(?:---|\.\.\.|%)/,
    // Quotes other than on one line and with a separator behind them
    /(?<![^\s,[\]{}:])(?!(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'(?!'))(?::(?:\s|[,\]}]|$)| *(?:[\r\n,\]}]|$| #)))["']/,
    // Block scalars other than of a key, with an indented line right below
    /(?<![^\s,[\]{}:])[|>](?<!: [|>])|: [|>](?![-+]?\r?\n +\S)|^ +\r?$/,
    // Numbers with leading zeros, prefixes, underscores, or a sign before a point
    /(?<![\w.+-])(?:[-+]?0[\d_bo]|[-+]0x|0x[\da-fA-F]*_|[-+]\.\d|[-+]?[\d.]+_)/,
  ].map(({ source }) => source).join("|"),
  "m",
);

/** Quoted text, comments and brackets of a line. */
const TOKENS =
  /(?<![^\s,[\]{}:])(?:"(?:[^"\\]|\\.)*"|'[^']*')|(?<!\S)#.*|[[\]{}]/g;

/** Whether lists and mappings in brackets are indented more than the block around them. */
function hasIndentedBrackets(masked: string): boolean {
  let open = 0;
  let block = 0;
  for (const line of masked.split("\n")) {
    const [{ length: indent }] = /^ */.exec(line)!;
    const first = line.charAt(indent);
    if (["", "\r", "#"].includes(first)) continue;
    if (open === 0) block = /^ *(?:- +)*/.exec(line)![0].length;
    else if (indent < block || indent === block && !/[\]}]/.test(first)) {
      return false;
    }
    for (const [token] of line.matchAll(TOKENS)) {
      if (token === "[" || token === "{") open++;
      if (token === "]" || token === "}") open = Math.max(0, open - 1);
    }
  }
  return true;
}

/**
 * Reads one YAML 1.2 document (core schema) in which references need no quotes.
 *
 * `@std/yaml` reads common forms. A text with uncommon forms or with faults is
 * read by `yaml` as well, which knows places: what the two readers do not agree
 * on is a fault.
 */
export async function readYaml(text: string): Promise<Read> {
  if (findMask(text) < 0) {
    const masked = mask(text);
    if (!UNCOMMON.test(masked) && hasIndentedBrackets(masked)) {
      const value = readCommon(masked);
      if (value !== undefined) return { value };
    }
  }
  const { readDocument } = await import("./places.ts");
  const document = readDocument(text, parseCore);
  return { value: document.value, document };
}

/** The value of a text in common forms; undefined if it may have a fault. */
function readCommon(masked: string): unknown {
  try {
    return new Restoration().restore(parseCore(masked), 0);
  } catch {
    // The other reader reports the fault and its place.
    return undefined;
  }
}

function parseCore(masked: string): unknown {
  return parse(masked, { schema: "core" });
}

/** Copies a value without masks, within the limits. */
class Restoration {
  #values = 0;

  /** @throws {RangeError} If there may be a fault. */
  restore(value: unknown, depth: number): unknown {
    if (++this.#values > LIMITS.values || depth > LIMITS.depth) {
      throw new RangeError("Beyond the limits");
    }
    if (typeof value === "string") return unmask(value);
    if (Array.isArray(value)) {
      return value.map((item) => this.restore(item, depth + 1));
    }
    if (isMapping(value)) {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => {
          // A missing key reads as "null".
          if (key === "null" || key === "__proto__") {
            throw new RangeError("Not a key");
          }
          return [unmask(key), this.restore(item, depth + 1)];
        }),
      );
    }
    const isInexact = typeof value === "number" &&
      !(Math.abs(value) <= Number.MAX_SAFE_INTEGER);
    if (isInexact || value === null && depth === 0) {
      throw new RangeError("Not a value");
    }
    return value;
  }
}

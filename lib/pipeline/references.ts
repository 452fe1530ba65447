/**
 * References such as `${params.train.lr}`, and how they are written in YAML.
 */
import { didYouMean } from "./did_you_mean.ts";
import {
  describe,
  isMapping,
  type Mapping,
  type Path,
  valueAt,
} from "./faults.ts";

/** The values that references can name. */
export interface Scope {
  readonly params: Mapping;
  /** Absent inside a matrix, which has no values yet. */
  readonly matrix?: Mapping;
}

/** In place of a text with a faulty reference. */
const UNRESOLVED = Symbol("unresolved");

/** True if a value, or one of a list, had a faulty reference. */
export function isUnresolved(value: unknown): boolean {
  return value === UNRESOLVED ||
    Array.isArray(value) && value.some(isUnresolved);
}

/** A fault of a reference or of a merge key. */
export interface ReferenceFault {
  readonly message: string;
  /** Path of the text with the reference. */
  readonly path: Path;
  /**
   * The mapping that lacks what the reference names: `params.train`, `matrix`.
   * Absent for other faults.
   */
  readonly lackedBy?: string;
}

/** A reference that is malformed or names nothing. */
class UnresolvedReference extends Error {
  override readonly name = "UnresolvedReference";

  /** @param lackedBy See {@linkcode ReferenceFault}. */
  constructor(message: string, readonly lackedBy?: string) {
    super(message);
  }
}

/** Whether a text contains a reference. */
export function hasReference(text: string): boolean {
  return /(?<!\$)\$\{/.test(text);
}

/**
 * The text with a reference that a value of the file comes from, at its path or
 * above, and the rest of the path.
 */
export function referenceBehind(
  file: unknown,
  path: Path,
): readonly [text: string, rest: Path] | undefined {
  for (let steps = 1; steps <= path.length; steps++) {
    const at = valueAt(file, path.slice(0, steps));
    if (typeof at === "string" && hasReference(at)) {
      return [at, path.slice(steps)];
    }
  }
}

/**
 * Replaces `${params.x.y}` and `${matrix.x}` by their values, at any depth.
 *
 * A text that is a single reference becomes the value itself; in a longer text
 * the value is inserted, so it must be text, a number or a boolean.
 * `${params.tuned[matrix.glue].lr}` uses another value as a key, and `$${`
 * stands for a literal `${`.
 *
 * @param fail Called for each faulty text, whose value is then
 * {@linkcode isUnresolved}.
 */
export function substitute(
  value: unknown,
  scope: Scope,
  fail: (fault: ReferenceFault) => void,
  path: Path = [],
): unknown {
  if (typeof value === "string") {
    try {
      return render(value, scope);
    } catch (error) {
      if (!(error instanceof UnresolvedReference)) throw error;
      const { message, lackedBy } = error;
      fail({ message, path, ...(lackedBy !== undefined && { lackedBy }) });
      return UNRESOLVED;
    }
  }
  if (Array.isArray(value)) {
    return value.map((item, index) =>
      substitute(item, scope, fail, [...path, index])
    );
  }
  if (isMapping(value)) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => {
        const at = [...path, key];
        if (key === MERGE_KEY && path.length > 0) {
          const message =
            `"${MERGE_KEY}" is allowed directly under "with" only`;
          fail({ message, path: at });
        }
        return [key, substitute(item, scope, fail, at)];
      }),
    );
  }
  return value;
}

function render(text: string, scope: Scope): unknown {
  const [, whole] = /^\$\{([^{}]*)\}$/.exec(text) ?? [];
  if (whole !== undefined) return evaluate(whole, scope);
  return text.replaceAll(/\$\$\{|\$\{([^}]*)(\}?)/g, (all, inner, end) => {
    if (inner === undefined) return "${";
    if (end === "") {
      throw new UnresolvedReference(
        `A reference that starts with "\${" has no closing "}"`,
      );
    }
    const value = evaluate(inner, scope);
    if (typeof value !== "object") return String(value);
    throw new UnresolvedReference(
      `"${all}" is ${describe(value)} and cannot be inserted into text`,
    );
  });
}

/**
 * A reference without `${}`: a name, and keys or the values of further
 * references.
 */
const NAME =
  /^\s*([a-z_][\w-]*)((?:\.[\w-]+|\[(?:[^[\]]|\[[^[\]]*\])+\])*)\s*$/i;
const STEPS = /\.([\w-]+)|\[\s*(\d+)\s*\]|\[((?:[^[\]]|\[[^[\]]*\])*)\]/g;

function evaluate(reference: string, scope: Scope): unknown {
  const [, root, steps = ""] = NAME.exec(reference) ?? [];
  if (root === undefined) {
    throw new UnresolvedReference(
      `Invalid reference "\${${reference}}"; examples of references: \${params.train.lr}, \${matrix.glue}, \${params.tuned[matrix.glue].lr}`,
    );
  }
  const roots: Record<string, unknown> = { params: scope.params };
  if (scope.matrix) roots.matrix = scope.matrix;
  if (root === "matrix" && !scope.matrix) {
    throw new UnresolvedReference(
      `"\${${reference.trim()}}" is not available here; only "params" is`,
    );
  }
  if (!Object.hasOwn(roots, root)) {
    const hint = didYouMean(root, Object.keys(roots)) ||
      `; a reference starts with ${
        Object.keys(roots).map((it) => `"${it}."`).join(" or ")
      }`;
    throw new UnresolvedReference(`Unknown name "${root}"${hint}`);
  }
  let value = roots[root];
  let walked = root;
  for (const [, name, index, inner] of steps.matchAll(STEPS)) {
    const key = name ?? index ?? evaluate(inner!, scope);
    if (typeof key !== "string" && typeof key !== "number") {
      throw new UnresolvedReference(
        `"\${${inner}}" is ${describe(key)}; a key must be text or a number`,
      );
    }
    value = member(value, String(key), walked);
    walked += `.${key}`;
  }
  return value;
}

function member(value: unknown, key: string, walked: string): unknown {
  const keys = typeof value === "object" ? Object.keys(value ?? {}) : [];
  if (keys.includes(key)) return (value as Mapping)[key];
  if (isMapping(value)) {
    throw new UnresolvedReference(
      `"${walked}" has no "${key}"${didYouMean(key, keys)}`,
      walked,
    );
  }
  const length = Array.isArray(value) ? ` of length ${value.length}` : "";
  throw new UnresolvedReference(
    `"${walked}" is ${describe(value)}${length} and has no "${key}"`,
  );
}

/**
 * Key under which `with` takes all parameters of a mapping, or of several, like
 * YAML's merge key.
 */
export const MERGE_KEY = "<<";

/**
 * Merges the mapping under {@linkcode MERGE_KEY}, or the mappings of a list
 * there, into the mapping that contains it. The keys beside it take precedence,
 * and of several mappings the first that has a key, as in YAML.
 *
 * @param fail Called if the value under the key is neither.
 * @returns `unmerged`: the values beside the key; `merged`: the whole mapping,
 * undefined if what is to be merged has faults.
 */
export function mergeKey(
  values: Mapping,
  fail: (fault: ReferenceFault) => void,
): { readonly unmerged: Mapping; readonly merged?: Mapping } {
  const { [MERGE_KEY]: value = {}, ...unmerged } = values;
  if (isUnresolved(value)) return { unmerged };
  const sources = [value].flat();
  if (sources.every(isMapping)) {
    const merged = Object.assign({}, ...sources.toReversed(), unmerged);
    return { unmerged, merged };
  }
  const wrong = sources.findIndex((it) => !isMapping(it));
  fail({
    message:
      `Expected a mapping such as \${params.train}, or a list of mappings, under "${MERGE_KEY}", got ${
        describe(sources[wrong])
      }`,
    path: Array.isArray(value) ? [MERGE_KEY, wrong] : [MERGE_KEY],
  });
  return { unmerged };
}

/**
 * Brackets of references; the character of the private use area at the same
 * place stands for each.
 */
const BRACKETS = "{}[],";

/** `${...}` on one line, or brackets directly after a word. */
const REFERENCE = /\$\{[^{}\n#"']*\}|(?<=[\w-])\[[\w\-*, ]*\]/g;

/**
 * Replaces the brackets of references, so that references need no quotes.
 *
 * `${params.tasks}` and `tokenize[glue, seed]` are plain text in block style,
 * but in flow style (`{ glue: ${params.tasks} }`) YAML reads their brackets as
 * its own. Offsets do not change, and neither does the meaning of valid YAML,
 * in which no bracket directly follows a word.
 */
export function mask(text: string): string {
  return text.replace(
    REFERENCE,
    (reference) =>
      reference.replace(
        /[{}[\],]/g,
        (it) => String.fromCharCode(0xe000 + BRACKETS.indexOf(it)),
      ),
  );
}

/** Inverse of {@linkcode mask}. */
export function unmask(text: string): string {
  return text.replace(
    /[\ue000-\ue004]/g,
    (it) => BRACKETS.charAt(it.charCodeAt(0) - 0xe000),
  );
}

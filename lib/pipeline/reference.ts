import { isMapping, type Mapping } from "./tree.ts";
import { didYouMean } from "./suggest.ts";

/** What references can name. */
export interface Scope {
  readonly params: Mapping;
  /** Absent where no matrix exists yet: in the matrix itself. */
  readonly matrix?: Mapping;
}

/** A reference that cannot be read or names nothing. */
class UnresolvedReference extends Error {
  override readonly name = "UnresolvedReference";
}

/** Longest text that references may make. */
const LONGEST_TEXT = 65_536;

/** One step of a path: a key, or a path whose value is the key. */
type Step = string | Path;
interface Path {
  readonly root: string;
  readonly steps: readonly Step[];
}

/** Text as written, and the references inside it. */
type Template = readonly (string | Path)[];

/** A value in which no reference is left. */
export type Resolved = unknown;

/** Whether a text holds a reference. */
export function hasReference(text: string): boolean {
  return /(?<!\$)\$\{/.test(text);
}

/**
 * Puts values in the place of `${params.x.y}` and `${matrix.x}`, at any depth.
 *
 * A text that is one reference takes the type of its value; inside a longer
 * text the value is written out, so it must be text, number or boolean.
 * `${params.tuned[matrix.glue].lr}` looks a key up by another value, and
 * `$${` stands for `${` itself.
 *
 * @param fail Called with what is wrong and the path of the text; the text then resolves to undefined.
 */
export function substitute(
  value: unknown,
  scope: Scope,
  fail: (message: string, path: readonly PropertyKey[]) => void,
  path: readonly PropertyKey[] = [],
): Resolved {
  if (typeof value === "string") {
    try {
      return render(parseTemplate(value), scope);
    } catch (error) {
      if (!(error instanceof UnresolvedReference)) throw error;
      fail(error.message, path);
      return undefined;
    }
  }
  if (Array.isArray(value)) {
    return value.map((item, index) =>
      substitute(item, scope, fail, [...path, index])
    );
  }
  if (isMapping(value)) {
    return Object.fromEntries(
      Object.entries(value).map((
        [key, item],
      ) => [key, substitute(item, scope, fail, [...path, key])]),
    );
  }
  return value;
}

function render(template: Template, scope: Scope): Resolved {
  if (template.length === 1 && typeof template[0] === "object") {
    return evaluate(template[0], scope);
  }
  let text = "";
  for (const part of template) {
    text += typeof part === "string" ? part : renderPath(part, scope);
    if (text.length > LONGEST_TEXT) {
      throw new UnresolvedReference(
        `References make a text of more than ${LONGEST_TEXT} characters`,
      );
    }
  }
  return text;
}

function renderPath(path: Path, scope: Scope): string {
  const value = evaluate(path, scope);
  if (typeof value === "object") {
    const what = value === null
      ? "nothing"
      : Array.isArray(value)
      ? "a list"
      : "a mapping";
    throw new UnresolvedReference(
      `"\${${written(path)}}" is ${what}, which cannot stand inside a text`,
    );
  }
  return String(value);
}

function evaluate(path: Path, scope: Scope): Resolved {
  const roots: Record<string, unknown> = { params: scope.params };
  if (scope.matrix) roots.matrix = scope.matrix;
  if (path.root === "matrix" && !scope.matrix) {
    throw new UnresolvedReference(
      `"\${${
        written(path)
      }}" has no meaning here: a matrix can refer to "params" only`,
    );
  }
  if (!Object.hasOwn(roots, path.root)) {
    const hint = didYouMean(path.root, Object.keys(roots)) ||
      `; a reference starts with ${
        Object.keys(roots).map((root) => `"${root}."`).join(" or ")
      }`;
    throw new UnresolvedReference(`Unknown name "${path.root}"${hint}`);
  }
  let value = roots[path.root];
  let walked = path.root;
  for (const step of path.steps) {
    const key = typeof step === "string" ? step : evaluate(step, scope);
    if (typeof key !== "string" && typeof key !== "number") {
      throw new UnresolvedReference(
        `"\${${
          written(step as Path)
        }}" is no text or number, so it cannot be a key`,
      );
    }
    value = member(value, String(key), walked);
    walked += `.${key}`;
  }
  return value;
}

function member(value: unknown, key: string, walked: string): unknown {
  if (Array.isArray(value)) {
    if (/^\d+$/.test(key) && Number(key) < value.length) {
      return value[Number(key)];
    }
    throw new UnresolvedReference(
      `"${walked}" is a list of ${value.length}; it has no item "${key}"`,
    );
  }
  if (!isMapping(value)) {
    throw new UnresolvedReference(
      `"${walked}" is no mapping, so it has no "${key}"`,
    );
  }
  if (!Object.hasOwn(value, key)) {
    throw new UnresolvedReference(
      `"${walked}" has no "${key}"${didYouMean(key, Object.keys(value))}`,
    );
  }
  return value[key];
}

/** Splits a text at its references. */
function parseTemplate(text: string): Template {
  if (!text.includes("${")) return [text];
  const parts: (string | Path)[] = [];
  let literal = "";
  let at = 0;
  while (at < text.length) {
    const next = text.indexOf("${", at);
    if (next < 0) break;
    if (text[next - 1] === "$" && next > at) {
      literal += text.slice(at, next - 1) + "${";
      at = next + 2;
      continue;
    }
    const end = text.indexOf("}", next);
    if (end < 0) {
      throw new UnresolvedReference(
        `A reference starts with "\${" and has no "}"`,
      );
    }
    literal += text.slice(at, next);
    if (literal !== "") parts.push(literal);
    literal = "";
    parts.push(new PathParser(text.slice(next + 2, end)).parse());
    at = end + 1;
  }
  literal += text.slice(at);
  if (literal !== "" || parts.length === 0) parts.push(literal);
  return parts;
}

/** `name ("." name | "[" (path | digits) "]")*` */
class PathParser {
  #at = 0;

  constructor(readonly text: string) {}

  parse(): Path {
    const path = this.#path(0);
    if (this.#at < this.text.length) this.#fail();
    return path;
  }

  #path(depth: number): Path {
    if (depth > 8) this.#fail();
    const root = this.#take(/\s*[a-z_][\w-]*/iy);
    const steps: Step[] = [];
    while (true) {
      if (this.#peek(".")) {
        steps.push(this.#take(/\.[\w-]+/y).slice(1));
      } else if (this.#peek("[")) {
        this.#at++;
        const index = /\s*\d+/y;
        index.lastIndex = this.#at;
        steps.push(
          index.test(this.text) ? this.#take(index) : this.#path(depth + 1),
        );
        this.#take(/\s*\]/y);
      } else {
        this.#take(/\s*/y);
        return { root, steps };
      }
    }
  }

  #peek(character: string): boolean {
    return this.text[this.#at] === character;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.text);
    if (match === null) this.#fail();
    this.#at += match[0].length;
    return match[0].trim();
  }

  #fail(): never {
    throw new UnresolvedReference(
      `Cannot read "\${${this.text}}"; write it like \${params.train.lr}, \${matrix.glue} or \${params.tuned[matrix.glue].lr}`,
    );
  }
}

function written(path: Path): string {
  return path.root +
    path.steps.map((step) =>
      typeof step === "string" ? `.${step}` : `[${written(step)}]`
    ).join("");
}

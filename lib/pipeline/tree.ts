import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type ParsedNode,
  parseDocument,
} from "yaml";
import type { Fault, Span } from "./fault.ts";
import { findMask, mask, unmask } from "./mask.ts";

/** Most values that a file may hold, aliases counted as often as they are used. */
const MOST_VALUES = 100_000;

/** Deepest nesting of a file. */
const DEEPEST = 100;

const PLAIN_TAGS: ReadonlySet<string> = new Set(
  ["str", "int", "float", "bool", "null", "map", "seq"].map((name) =>
    `tag:yaml.org,2002:${name}`
  ),
);

/** A value of a YAML file and where it stands. */
export interface Tree {
  /** Text, number, boolean, null, list or mapping. */
  readonly value: unknown;
  readonly span: Span;
  /** Entries of a mapping by key, items of a list by index. */
  readonly children?: ReadonlyMap<string | number, Tree>;
  /** Where the keys of a mapping stand. */
  readonly keys?: ReadonlyMap<string, Span>;
}

/** Any object with string keys. */
export type Mapping = Record<string, unknown>;

/** Whether a value of a tree is a mapping. */
export function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What was read, as far as it could be, and all that is wrong with its syntax. */
export interface Parsed {
  readonly tree?: Tree;
  readonly faults: readonly Fault[];
}

/**
 * Parses one YAML 1.2 document into plain values with positions.
 *
 * What YAML allows and a pipeline does not need is a fault: tags, keys that
 * are no text, duplicate keys, aliases inside their own anchor, and more
 * values or deeper nesting than any pipeline has.
 */
export function parseYaml(text: string): Parsed {
  const masked = findMask(text);
  if (masked >= 0) {
    return {
      faults: [{
        message: "Characters U+E000 to U+E004 are not allowed",
        span: { offset: masked, length: 1 },
      }],
    };
  }
  const document = parseDocument(mask(text), {
    prettyErrors: false,
    uniqueKeys: false,
    logLevel: "silent",
  });
  // An unknown tag, which is only warned of, hides nothing else.
  const problems = [
    ...document.errors,
    ...document.warnings.filter(({ code }) => code !== "TAG_RESOLVE_FAILED"),
  ];
  if (problems.length > 0) {
    return {
      faults: problems.slice(0, 100).map((
        { code, message, pos: [from, to] },
      ) => ({
        message: code === "RESOURCE_EXHAUSTION"
          ? "Nested too deeply"
          : `YAML syntax: ${unmask(message)}`,
        span: {
          offset: Math.min(from, text.length),
          length: Math.max(1, to - from),
        },
      })),
    };
  }
  if (document.contents === null) {
    return { faults: [{ message: "The file is empty" }] };
  }
  const builder = new TreeBuilder();
  const { tree } = builder.build(document.contents, 0);
  // What is too large or too deep to be looked at is not looked at.
  return builder.isOverLimit
    ? { faults: builder.faults }
    : { tree, faults: builder.faults };
}

/** A tree and how many values it stands for when aliases are written out. */
interface Built {
  readonly tree: Tree;
  readonly size: number;
}

class TreeBuilder {
  readonly faults: Fault[] = [];
  /** What each anchor names; null while its own node is being built. */
  readonly #anchors = new Map<string, Built | null>();
  #size = 0;
  /** True if there is more in the file than any pipeline has. */
  isOverLimit = false;

  build(node: ParsedNode | null, depth: number): Built {
    if (node === null) return this.#leaf(null, { offset: 0, length: 1 });
    const span = spanOf(node);
    if (isAlias(node)) return this.#alias(node.source, span);
    if (depth > DEEPEST) {
      this.isOverLimit = true;
      return this.#wrong("Nested too deeply", span);
    }
    const tag = node.tag;
    if (tag !== undefined && !PLAIN_TAGS.has(tag)) {
      return this.#wrong(`Tag "${tag}" is not allowed`, span);
    }
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, null);
    const built = isMap(node)
      ? this.#mapping(node, span, depth)
      : isSeq(node)
      ? this.#list(node.items as ParsedNode[], span, depth)
      : this.#scalar(node.value, node.source, span);
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, built);
    return built;
  }

  #mapping(
    node: { items: { key: unknown; value: unknown }[] },
    span: Span,
    depth: number,
  ): Built {
    const value: Mapping = {};
    const children = new Map<string, Tree>();
    const keys = new Map<string, Span>();
    let size = 1;
    for (const item of node.items) {
      const key = item.key as ParsedNode | null;
      const keySpan = key === null ? span : spanOf(key);
      const name = isScalar(key) ? keyText(key.value) : undefined;
      if (name === undefined || name === "__proto__") {
        const what = name ?? "a list, a mapping or nothing";
        this.#wrong(`A key cannot be ${what}`, keySpan);
        continue;
      }
      if (keys.has(name)) {
        this.#wrong(`Key "${name}" stands twice in this mapping`, keySpan);
        continue;
      }
      const child = item.value === null
        ? this.#leaf(null, keySpan)
        : this.build(item.value as ParsedNode, depth + 1);
      value[name] = child.tree.value;
      keys.set(name, keySpan);
      children.set(name, child.tree);
      size += child.size;
    }
    return { tree: { value, span, children, keys }, size: this.#count(size) };
  }

  #list(items: readonly ParsedNode[], span: Span, depth: number): Built {
    const built = items.map((item) => this.build(item, depth + 1));
    const size = built.reduce((sum, it) => sum + it.size, 1);
    return {
      tree: {
        value: built.map((it) => it.tree.value),
        span,
        children: new Map(built.map((it, index) => [index, it.tree])),
      },
      size: this.#count(size),
    };
  }

  #scalar(value: unknown, source: string | undefined, span: Span): Built {
    if (typeof value === "string") return this.#leaf(unmask(value), span);
    if (
      typeof value === "number" && !Number.isSafeInteger(value) &&
      /^[-+]?(0[xo])?[\da-f]+$/i.test(source ?? "")
    ) {
      return this.#wrong(
        `Integer ${source} is too large to be exact; quote it if it is text`,
        span,
      );
    }
    if (
      value === null || typeof value === "number" || typeof value === "boolean"
    ) {
      return this.#leaf(value, span);
    }
    return this.#wrong("A value must be text, number, boolean or null", span);
  }

  #alias(name: string, span: Span): Built {
    const target = this.#anchors.get(name);
    if (target === undefined) {
      return this.#wrong(`Alias "*${name}" has no anchor before it`, span);
    }
    if (target === null) {
      return this.#wrong(`Alias "*${name}" stands inside its own anchor`, span);
    }
    return { tree: { ...target.tree, span }, size: target.size };
  }

  #leaf(value: unknown, span: Span): Built {
    return { tree: { value, span }, size: 1 };
  }

  #wrong(message: string, span: Span): Built {
    this.faults.push({ message, span });
    return this.#leaf(null, span);
  }

  #count(size: number): number {
    if (size > MOST_VALUES && this.#size <= MOST_VALUES) {
      this.isOverLimit = true;
      this.faults.push({
        message:
          `The file holds more than ${MOST_VALUES} values, aliases written out`,
      });
    }
    this.#size = Math.max(this.#size, size);
    return size;
  }
}

function spanOf(node: ParsedNode): Span {
  const [from, to] = node.range;
  return { offset: from, length: Math.max(1, to - from) };
}

function keyText(value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return unmask(value);
    case "number":
    case "boolean":
      return String(value);
    default:
      return undefined;
  }
}

/** Where the value at `path` stands; of what is not there, the nearest mapping or list that is. */
export function spanAt(
  tree: Tree,
  path: readonly PropertyKey[],
): Span {
  let at = tree;
  let span = tree.span;
  for (const step of path) {
    const next = at.children?.get(step as string | number);
    if (next === undefined) return span;
    span = next.children === undefined || typeof step === "number"
      ? next.span
      : at.keys?.get(String(step)) ?? next.span;
    at = next;
  }
  return at.children === undefined ? at.span : span;
}

/** Where the last key of `path` stands; of what is not there, the nearest key that is. */
export function keySpanAt(tree: Tree, path: readonly PropertyKey[]): Span {
  let at: Tree | undefined = tree;
  let span = tree.span;
  for (const step of path) {
    const key = at.keys?.get(String(step));
    at = at.children?.get(step as string | number);
    if (at === undefined) return span;
    span = key ?? at.span;
  }
  return span;
}

/** Reads YAML with places. Loaded only for files with faults or uncommon forms. */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type ParsedNode,
  parseDocument,
} from "yaml";
import {
  describe,
  type Fault,
  LIMITS,
  type Mapping,
  type Path,
  type Place,
  type Span,
} from "./faults.ts";
import { findMask, mask, unmask } from "./references.ts";

const PLAIN_TAGS: ReadonlySet<string> = new Set(
  ["str", "int", "float", "bool", "null", "map", "seq"].map((name) =>
    `tag:yaml.org,2002:${name}`
  ),
);

/** A value of a YAML file and its place. */
interface Tree {
  /** Text, number, boolean, null, list or mapping. */
  readonly value: unknown;
  readonly span: Span;
  /** Values of a mapping by key, items of a list by index. */
  readonly children?: ReadonlyMap<string | number, Tree>;
  /** Places of the keys of a mapping. */
  readonly keys?: ReadonlyMap<string, Span>;
}

/** A YAML document with places, and the faults of its syntax. */
export class YamlDocument {
  constructor(
    readonly faults: readonly Fault[],
    /** Undefined if the text cannot be parsed. */
    readonly tree?: Tree,
  ) {}

  /** The value, with null for parts that have faults. */
  get value(): unknown {
    return this.tree?.value;
  }

  /** The span of a place; if it does not exist, of the nearest that does. */
  spanOf({ path, of }: Place): Span {
    if (this.tree === undefined) return { offset: 0, length: 1 };
    return of === "key"
      ? keySpanAt(this.tree, path)
      : valueSpanAt(this.tree, path);
  }

  /** The span of the whole value under a key of the document. */
  rangeOf(key: string): Span {
    return this.tree?.children?.get(key)?.span ?? { offset: 0, length: 0 };
  }
}

/**
 * Parses one YAML 1.2 document (core schema).
 *
 * Some forms of YAML that pipelines do not need are faults: tags, keys that are
 * not text, duplicate keys, aliases inside their own anchor, and more values or
 * deeper nesting than the limits allow.
 *
 * @param other Another reader, which gets the text with its references masked
 * (see `mask()`); what it reads differently is a fault.
 */
export function readDocument(
  text: string,
  other?: (masked: string) => unknown,
): YamlDocument {
  const reserved = findMask(text);
  if (reserved >= 0) {
    return new YamlDocument([{
      message: "Characters U+E000 to U+E004 are not allowed",
      span: { offset: reserved, length: 1 },
    }]);
  }
  const masked = mask(text);
  const parsed = parseDocument(masked, {
    prettyErrors: false,
    uniqueKeys: false,
    logLevel: "silent",
  });
  const problems = [
    ...parsed.errors,
    // Unknown tags are reported with the values.
    ...parsed.warnings.filter(({ code }) => code !== "TAG_RESOLVE_FAILED"),
  ];
  if (problems.length > 0) {
    return new YamlDocument(
      problems.slice(0, 100).map(({ code, message, pos: [from, to] }) => ({
        message: code === "RESOURCE_EXHAUSTION"
          ? TOO_DEEP
          : `YAML syntax: ${unmask(message)}`,
        span: spanOf(Math.min(from, text.length), to),
      })),
    );
  }
  if (parsed.contents === null) {
    return new YamlDocument([{ message: "The file is empty" }]);
  }
  const builder = new TreeBuilder();
  const { tree } = builder.build(parsed.contents, 0);
  if (builder.isOverLimit) return new YamlDocument(builder.faults);
  if (other !== undefined && builder.faults.length === 0) {
    try {
      builder.faults.push(...differences(tree, other(masked), text));
    } catch (error) {
      const { message, offset } = error as Error & { offset?: number };
      const [first = ""] = message.split(/ at line \d+, column \d+/);
      builder.faults.push({
        message: `YAML syntax: ${unmask(first)}`,
        ...(offset === undefined ? {} : { span: spanOf(offset, offset + 1) }),
      });
    }
  }
  return new YamlDocument(builder.faults, tree);
}

const TOO_DEEP = `Nested too deeply; the maximum depth is ${LIMITS.depth}`;

/** Faults for the values that another reader read differently. */
function* differences(
  { value, span, children }: Tree,
  other: unknown,
  text: string,
): Generator<Fault> {
  if (children === undefined) {
    const same = typeof other === "string"
      ? value === unmask(other)
      : value === other || Number.isNaN(value) && Number.isNaN(other);
    if (same) return;
  } else if (
    Array.isArray(value) === Array.isArray(other) &&
    typeof other === "object" && other !== null &&
    Object.keys(other).map(unmask).join("\n") ===
      Object.keys(value as object).join("\n")
  ) {
    for (const [key, item] of Object.entries(other)) {
      const child = children.get(Array.isArray(value) ? +key : unmask(key));
      if (child !== undefined) yield* differences(child, item, text);
    }
    return;
  }
  const source = text.slice(span.offset, span.offset + span.length).trim();
  const readings = `YAML 1.2 reads ${describe(value)}, some readers read ${
    describe(other)
  }`;
  const message = source.startsWith("*")
    ? `Ambiguous alias "${source}": ${readings}; repeat the value instead`
    : children === undefined && /^[-+.\w]+$/.test(source)
    ? `Ambiguous value "${source}": ${readings}; write a plain decimal number, or put text in quotes`
    : `Ambiguous value: ${readings}; write it in a simpler form`;
  yield { message, span };
}

/** A tree, and its number of values with aliases expanded. */
interface Built {
  readonly tree: Tree;
  readonly size: number;
}

class TreeBuilder {
  readonly faults: Fault[] = [];
  /** Nodes by anchor; null while the node is being built. */
  readonly #anchors = new Map<string, Built | null>();
  #size = 0;
  /** True if the file exceeds the limits. */
  isOverLimit = false;

  build(node: ParsedNode | null, depth: number): Built {
    if (node === null) return this.#leaf(null, { offset: 0, length: 1 });
    const span = spanOf(node.range[0], node.range[1]);
    if (isAlias(node)) return this.#alias(node.source, span);
    if (depth > LIMITS.depth) {
      this.isOverLimit = true;
      return this.#wrong(TOO_DEEP, span);
    }
    const tag = node.tag;
    if (tag !== undefined && !PLAIN_TAGS.has(tag)) {
      return this.#wrong(`Tag "${tag}" is not allowed; remove it`, span);
    }
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, null);
    const built = isMap(node)
      ? this.#mapping(node, span, depth)
      : isSeq(node)
      ? this.#list(node.items, span, depth)
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
      const keySpan = key === null ? span : spanOf(key.range[0], key.range[1]);
      const name = isScalar(key) ? keyText(key.value) : undefined;
      if (name === undefined || name === "__proto__") {
        this.#wrong(
          name === undefined
            ? "A key must be text"
            : `"${name}" is not allowed as a key`,
          keySpan,
        );
        continue;
      }
      if (keys.has(name)) {
        this.#wrong(`Duplicate key "${name}"`, keySpan);
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
      /^[-+]?(0x[\da-f]+|0o[0-7]+|\d+)$/i.test(source ?? "")
    ) {
      return this.#wrong(
        `Integer ${source} is too large to be exact; put quotes around it if it is text`,
        span,
      );
    }
    if (
      value === null || typeof value === "number" || typeof value === "boolean"
    ) {
      return this.#leaf(value, span);
    }
    return this.#wrong(
      "A value must be text, a number, a boolean or null",
      span,
    );
  }

  #alias(name: string, span: Span): Built {
    const target = this.#anchors.get(name);
    if (target === undefined) {
      return this.#wrong(`Alias "*${name}" has no anchor before it`, span);
    }
    if (target === null) {
      return this.#wrong(`Alias "*${name}" is inside its own anchor`, span);
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
    if (size > LIMITS.values && this.#size <= LIMITS.values) {
      this.isOverLimit = true;
      this.faults.push({
        message:
          `The file has more than ${LIMITS.values} values with its aliases expanded`,
      });
    }
    this.#size = Math.max(this.#size, size);
    return size;
  }
}

function spanOf(from: number, to: number): Span {
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

/** The span of the value at `path`; if there is none, of the nearest mapping or list. */
function valueSpanAt(tree: Tree, path: Path): Span {
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

/** The span of the last key of `path`; if there is none, of the nearest key. */
function keySpanAt(tree: Tree, path: Path): Span {
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

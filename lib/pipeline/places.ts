/** Finds places in YAML. Loaded only for files with faults. */
import {
  isAlias,
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Node,
  parseDocument,
} from "yaml";
import type { Fault, Place, Span } from "./faults.ts";
import { mask, unmask } from "./references.ts";

/** A YAML text in which the values of paths can be found. */
export class YamlPlaces {
  readonly #document;

  constructor(private readonly text: string) {
    this.#document = parseDocument(mask(text), {
      prettyErrors: false,
      logLevel: "silent",
    });
  }

  /**
   * The faults of the syntax.
   *
   * @param message What `@std/yaml` says of a text that it cannot read, for a
   * fault that only it finds.
   */
  syntaxFaults(message?: string): Fault[] {
    const { errors, warnings } = this.#document;
    const faults = [...errors, ...warnings].map((
      { message, pos: [from, to] },
    ) => ({
      message: `YAML syntax: ${unmask(message)}`,
      span: spanBetween(Math.min(from, this.text.length), to),
    }));
    if (faults.length > 0 || message === undefined) return faults;
    const [, what = message, line = "1", column = "1"] =
      /^(.*) at line (\d+), column (\d+)/.exec(message) ?? [];
    const lines = this.text.split("\n").slice(0, Number(line) - 1);
    const offset = lines.join("\n").length + Math.min(lines.length, 1) +
      Number(column) - 1;
    return [{
      message: `YAML syntax: ${unmask(what)}`,
      span: { offset, length: 1 },
    }];
  }

  /** The span of a place; if it does not exist, of the nearest that does. */
  spanOf({ path, of }: Place): Span {
    let node: unknown = this.#document.contents;
    let span = spanOfNode(node) ?? { offset: 0, length: 1 };
    for (const step of path) {
      if (isAlias(node)) node = node.resolve(this.#document);
      const pair = isMap(node)
        ? node.items.find(({ key }) => keyText(key) === String(step))
        : undefined;
      const next = isSeq(node) ? node.items[Number(step)] : pair?.value;
      if (pair === undefined && next === undefined) break;
      const isLeaf = !isCollection(
        isAlias(next) ? next.resolve(this.#document) : next,
      );
      span = (isSeq(node) || of === "value" && isLeaf
        ? spanOfNode(next)
        : undefined) ?? spanOfNode(pair?.key) ?? span;
      node = next;
    }
    return span;
  }
}

function keyText(key: unknown): string {
  return unmask(String(isScalar(key) ? key.value : key));
}

function spanOfNode(node: unknown): Span | undefined {
  const range = isNode(node) ? (node as Node).range : undefined;
  return range ? spanBetween(range[0], range[1]) : undefined;
}

function spanBetween(from: number, to: number): Span {
  return { offset: from, length: Math.max(1, to - from) };
}

/** Reads the comments of a YAML text, and edits the text with its comments kept. */
import {
  isCollection,
  isMap,
  isScalar,
  parseDocument,
  type Scalar,
} from "yaml";
import { mask, unmask } from "./references.ts";

/**
 * Comments on the parameters of a pipeline by dot path: on the lines above a
 * key, or after its value. A key without one has the comment of the mapping
 * around it.
 */
export function paramComments(text: string): Map<string, string> {
  const found = new Map<string, string>();
  const { contents } = parseDocument(mask(text), { logLevel: "silent" });
  const joined = (...comments: (string | null | undefined)[]) =>
    unmask(comments.join("\n").replaceAll(/\s+/g, " ").trim());
  const visit = (node: unknown, path: string, inherited: string) => {
    if (!isMap(node)) return;
    // "yaml" attaches a comment above the first key to the mapping.
    let above = path === "" ? node.commentBefore : undefined;
    for (const pair of node.items) {
      const { key, value } = pair;
      if (!isScalar(key)) continue;
      const name = path + unmask(String(key.value));
      const own = joined(
        above,
        key.commentBefore,
        isMap(value) ? value.commentBefore : undefined,
        isScalar(value) || isCollection(value) ? value.comment : undefined,
      );
      above = undefined;
      const comment = own === "" ? inherited : own;
      if (comment !== "") found.set(name, comment);
      visit(value, `${name}.`, comment);
    }
  };
  visit(isMap(contents) ? contents.get("params", true) : undefined, "", "");
  return found;
}

/** Texts such as `2024_01` and `0b1`, which some readers take for numbers. */
const LIKE_NUMBER = /^[-+.]*_?\d[\w.+-]*$/;

/** A YAML text whose values and comments can be changed. */
export class EditableYaml {
  readonly #document: ReturnType<typeof parseDocument>;

  /** @param text YAML without faults. */
  constructor(text: string) {
    this.#document = parseDocument(mask(text));
  }

  /** Sets the comment at the start of the text, one line for each item. */
  setHeading(lines: readonly string[]): void {
    this.#document.commentBefore = lines.map((it) => ` ${it}`).join("\n");
  }

  /**
   * Sets the value at a path of keys.
   *
   * @param comment Comment after the value; without one, the old comment stays.
   */
  set(path: readonly string[], value: unknown, comment?: string): void {
    this.#document.setIn(path, value);
    const node = this.#document.getIn(path, true);
    if (!isScalar(node)) return;
    if (typeof value === "string" && LIKE_NUMBER.test(value)) {
      node.type = "QUOTE_DOUBLE";
    }
    if (comment !== undefined) node.comment = ` ${comment}`;
  }

  /** Sets the comments on the lines above the keys of the mapping under `key`. */
  explain(key: string, comments: Readonly<Record<string, string>>): void {
    const mapping = this.#document.get(key, true);
    if (!isMap<Scalar>(mapping)) return;
    for (const { key } of mapping.items) {
      const comment = comments[String(key.value)];
      if (comment !== undefined) key.commentBefore = ` ${comment}`;
    }
  }

  toString(): string {
    return unmask(this.#document.toString({ lineWidth: 0 }));
  }
}

/** What the pipelines have in common that init writes. */
import type { Column } from "../../data/inspect_table.ts";
import { printable, readText } from "../../pipeline/faults.ts";
import { hasReference } from "../../pipeline/references.ts";
import { UsageError } from "../arguments/arguments.ts";
import { findPipeline } from "../arguments/open_pipeline.ts";

/** What a starter is for. */
export interface Source {
  /** Name of the pipeline. */
  readonly name: string;
  /** Path of the data, as a pipeline has it. */
  readonly path: string;
  readonly encoding: string | undefined;
}

/**
 * A pipeline of the project whose parameters are changed, with their comments.
 */
export async function openTemplate(pipeline: string, { name, path }: Source) {
  const template = await readText(await findPipeline(pipeline));
  const { isNode, isScalar, parseDocument, visit } = await import("yaml");
  const document = parseDocument(template);
  visit(document, {
    Pair(_, { key }) {
      if (!isScalar(key) || key.value !== "train") return;
      // What a template says of its own file.
      delete key.commentBefore;
      return visit.BREAK;
    },
  });
  /** Sets a value; without a comment, the old one stays. */
  const write = (keys: string[], value: unknown, comment?: string) => {
    const node = document.getIn(keys, true);
    if (!isScalar(node)) throw new TypeError(`${pipeline} has no "${keys}"`);
    node.value = value;
    // Without quotes, some readers take 1_000 for a number.
    if (typeof value === "string") node.type = "QUOTE_DOUBLE";
    if (comment) node.comment = ` ${comment}`;
  };
  write(["name"], name);
  write(["description"], `Find the LoRA rank for ${path} with one training`);
  const set = (key: string, value: unknown, comment?: string) => {
    if (typeof value === "string" && hasReference(value)) {
      const what = key === "train" ? "file" : "column";
      throw new UsageError(
        `"${value}" cannot be the parameter "${key}" because "\${" begins a reference in a pipeline: rename the ${what}`,
      );
    }
    write(["params", key], value, comment);
  };
  const setList = (
    key: string,
    values: readonly (number | string)[],
    comment: string,
  ) => {
    const node = document.createNode([...values], { flow: true });
    if (!isNode(node)) throw new TypeError("a list is no node");
    node.comment = ` ${comment}`;
    document.setIn(["params", key], node);
  };
  return { document, write, set, setList };
}

/**
 * A text of the user's file, safe for the terminal and for one line of
 * comments.
 */
export function oneLine(text: string): string {
  return printable(text).replaceAll(/[\n\t]/g, "\ufffd");
}

/** `median 20 characters, maximum 90` */
export function lengthsOf({ median, longest }: Column): string {
  return `median ${median} characters, maximum ${longest}`;
}

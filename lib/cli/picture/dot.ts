import type { PictureNode } from "./nodes.ts";

/** A directed graph in the language of Graphviz (https://graphviz.org). */
export function dot(name: string, nodes: readonly PictureNode[]): string {
  const quoted = JSON.stringify;
  return [
    `digraph ${quoted(name)} {`,
    "  node [shape=box, style=rounded];",
    ...nodes.map(({ id, label }) =>
      `  ${quoted(id)} [label=${quoted(label)}];`
    ),
    ...nodes.flatMap(({ id, needs }) =>
      needs.map((it) => `  ${quoted(it)} -> ${quoted(id)};`)
    ),
    "}",
    "",
  ].join("\n");
}

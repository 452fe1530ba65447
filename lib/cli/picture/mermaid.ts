import type { PictureNode } from "./nodes.ts";

/** A flow chart for Mermaid, which GitHub shows in Markdown (https://mermaid.js.org). */
export function mermaid(nodes: readonly PictureNode[]): string {
  const names = new Map(nodes.map(({ id }, index) => [id, `s${index}`]));
  return [
    "flowchart TD",
    ...nodes.map(({ id, label }) => `  ${names.get(id)}["${label}"]`),
    ...nodes.flatMap(({ id, needs }) =>
      needs.map((it) => `  ${names.get(it)} --> ${names.get(id)}`)
    ),
    "",
  ].join("\n");
}

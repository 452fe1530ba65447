import type { Graph } from "../../pipeline/graph.ts";

/** A node of a picture: a stage, or all stages of a name. */
export interface PictureNode {
  readonly id: string;
  readonly label: string;
  /** Ids of the nodes that it needs. */
  readonly needs: readonly string[];
}

/**
 * The nodes of a picture, in topological order.
 *
 * @param stages Ids of the stages in the picture.
 * @param expanded True for a node per stage, false for one per name.
 */
export function pictureNodes(
  graph: Graph,
  stages: ReadonlySet<string>,
  expanded: boolean,
): PictureNode[] {
  const nodeOf = (id: string) => expanded ? id : graph.stages.get(id)!.name;
  const needs = new Map<string, Set<string>>();
  const sizes = new Map<string, number>();
  for (const id of stages) {
    const node = nodeOf(id);
    const needed = needs.get(node) ?? new Set();
    for (const ids of Object.values(graph.stages.get(id)!.inputs)) {
      for (const it of ids) if (stages.has(it)) needed.add(nodeOf(it));
    }
    needs.set(node, needed);
    sizes.set(node, (sizes.get(node) ?? 0) + 1);
  }
  return [...needs].map(([id, needed]) => ({
    id,
    label: sizes.get(id)! > 1 ? `${id} ×${sizes.get(id)}` : id,
    needs: [...needed],
  }));
}

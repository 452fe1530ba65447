import { type Graph, groupStages, reduceEdges } from "../../pipeline/graph.ts";
import { selectStages } from "../../scheduler/context.ts";
import { command, UsageError } from "../arguments/arguments.ts";
import { openPipeline } from "../arguments/open_pipeline.ts";
import { GRAPH_OPTIONS, JSON_LINES } from "../arguments/options.ts";
import { writeOut } from "../terminal/renderer.ts";

export const graphCommand = command`
  graph PIPELINE [STAGE...]

  Draw the stages of a pipeline and their dependencies. With STAGEs, draw only these and the stages that they need. The stages of a matrix are one node unless --expand is given.

  Options:
  --format NAME{terminal,mermaid,dot}  terminal (default), mermaid (rendered by GitHub) or dot (for Graphviz)
  --expand  Draw each stage of a matrix as a node of its own
  ${GRAPH_OPTIONS}
  ${JSON_LINES}

  Examples:
  glue-mini  Show the stages and their dependencies
  smoke --format mermaid  Make a chart for a README
  smoke --format dot | dot -Tsvg > smoke.svg  Make an image
`(async (args) => {
  if (args.has("json") && args.has("format")) {
    throw new UsageError('Options "--json" and "--format" exclude each other');
  }
  const { graph, selected } = await openPipeline(args);
  const stages = selectStages(graph, selected);
  const nodes = graphNodes(graph, stages, args.has("expand"));
  const format = args.has("json") ? "json" : args.value("format");
  writeOut(DRAWINGS[format ?? "terminal"]!(nodes, graph.pipeline));
});

const DRAWINGS: Readonly<
  Record<string, (nodes: readonly GraphNode[], name: string) => string>
> = {
  json: (nodes) => nodes.map((it) => `${JSON.stringify(it)}\n`).join(""),
  terminal: rails,
  mermaid,
  dot,
};

/** A node of a drawing: a stage, or all stages of a name. */
export interface GraphNode {
  readonly id: string;
  /** The id, with the number of stages if there are several. */
  readonly label: string;
  /** Ids of the nodes that it needs. */
  readonly needs: readonly string[];
}

/**
 * The nodes of a drawing, in topological order.
 *
 * @param stages Ids of the stages to draw.
 * @param expanded True for a node per stage, false for one per name.
 */
function graphNodes(
  graph: Graph,
  stages: ReadonlySet<string>,
  expanded: boolean,
): GraphNode[] {
  const drawn = [...stages].map((id) => graph.stages.get(id)!);
  const groups = groupStages(
    expanded ? drawn.map((it) => ({ ...it, name: it.id })) : drawn,
  );
  return groups.map(({ name: id, stages: { length }, inputs: needs }) => ({
    id,
    label: length > 1 ? `${id} ×${length}` : id,
    needs,
  }));
}

/**
 * Draws a graph like `git log --graph`: one line per node, below all nodes that
 * it depends on, connected by lines.
 *
 *     ●  model
 *     │  ●  data ×3
 *     ├──╯
 *     ●  tokenize ×3
 *
 * Edges that other edges imply are omitted: `c` -> `a` if there are `c` -> `b`
 * and `b` -> `a`.
 */
export function rails(nodes: readonly GraphNode[]): string {
  const edges = reduceEdges(nodes);
  /** Index of the last node that needs each node. */
  const last = new Map(
    nodes.flatMap(({ id }, i) => edges.get(id)!.map((need) => [need, i])),
  );
  /** The node whose rail goes down in each column. */
  const columns: (string | undefined)[] = [];
  /** Whether the last line occupies each column. */
  let above: readonly boolean[] = [];
  const lines: string[] = [];
  for (const [i, { id, label }] of nodes.entries()) {
    const before = columns.map((it) => it !== undefined);
    const from = new Set(edges.get(id)!.map((need) => columns.indexOf(need)));
    for (const column of from) {
      if (last.get(columns[column]!) === i) columns[column] = undefined;
    }
    const to = columnFor(columns, from, above);
    columns[to] = id;
    const joint = jointLine(from, to, before, columns);
    if (joint !== undefined) lines.push(joint);
    above = columns.map((it) => it !== undefined);
    const cells = above.map((isRail, column) =>
      column === to ? "●" : isRail ? "│" : " "
    );
    lines.push(`${cells.join("  ").trimEnd()}  ${label}`);
    if (!last.has(id)) columns[to] = undefined;
  }
  return lines.map((line) => `${line}\n`).join("");
}

/**
 * The column of a node: below a node that it needs, if that rail ends here;
 * otherwise the first free one that is not right below an unrelated node.
 */
function columnFor(
  columns: readonly (string | undefined)[],
  from: ReadonlySet<number>,
  above: readonly boolean[],
): number {
  const free = (column: number) => columns[column] === undefined;
  const below = [...from].filter(free).sort((a, b) => a - b)[0];
  if (below !== undefined) return below;
  for (let column = 0;; column++) {
    if (free(column) && (from.size > 0 || !above[column])) return column;
  }
}

/**
 * The line that joins rails into a node; undefined if its only rail comes
 * straight down.
 */
function jointLine(
  from: ReadonlySet<number>,
  to: number,
  before: readonly boolean[],
  after: readonly (string | undefined)[],
): string | undefined {
  const ends = [...from, to];
  const first = Math.min(...ends);
  const last = Math.max(...ends);
  if (from.size === 0 || first === last) return undefined;
  let line = "";
  const width = Math.max(before.length, after.length);
  for (let column = 0; column < width; column++) {
    const within = column >= first && column <= last;
    const joined = from.has(column) || column === to;
    const up = before[column] === true;
    const down = after[column] !== undefined;
    const right = column >= first && column < last;
    const sides = [up, down, within && column > first, right].map(Number);
    line += within && !joined
      // A rail that only crosses is drawn over the others.
      ? (up ? "│" : "─")
      : GLYPHS[parseInt(sides.join(""), 2)]!;
    line += right ? "──" : "  ";
  }
  return line.trimEnd();
}

/**
 * Box-drawing characters by the sides that they connect: 8 up, 4 down, 2 left,
 * 1 right.
 */
const GLYPHS = "   ─ ╭╮┬ ╰╯┴│├┤┼";

/**
 * A flow chart for Mermaid, which GitHub shows in Markdown
 * (https://mermaid.js.org).
 */
function mermaid(nodes: readonly GraphNode[]): string {
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

/** A directed graph in the language of Graphviz (https://graphviz.org). */
function dot(nodes: readonly GraphNode[], name: string): string {
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

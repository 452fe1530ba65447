import type { PictureNode } from "./nodes.ts";

/** Sides on which a rail leaves a cell. */
interface Cell {
  up: boolean;
  down: boolean;
  left: boolean;
  right: boolean;
}

/**
 * A picture for the terminal, as `git log --graph` draws one: a line per node,
 * below all that it needs, and rails between them.
 *
 *     ●  model
 *     │  ●  data ×3
 *     ├──╯
 *     ●  tokenize ×3
 *
 * Edges that others imply (`a` is needed by `b`, `b` by `c`, so `a` by `c`) are
 * left out.
 */
export function rails(nodes: readonly PictureNode[]): string {
  const edges = reduceEdges(nodes);
  const waiting = new Map<string, number>();
  for (const { id } of nodes) {
    for (const need of edges.get(id)!) {
      waiting.set(need, (waiting.get(need) ?? 0) + 1);
    }
  }
  /** The node whose rail goes down in each column. */
  const columns: (string | undefined)[] = [];
  /** Columns in which the last line has something. */
  let above = new Set<number>();
  const lines: string[] = [];
  for (const { id, label } of nodes) {
    const from = new Set<number>();
    const before = columns.map((it) => it !== undefined);
    for (const need of edges.get(id)!) {
      const column = columns.indexOf(need);
      from.add(column);
      const left = waiting.get(need)! - 1;
      waiting.set(need, left);
      if (left === 0) columns[column] = undefined;
    }
    const to = place(columns, from, above);
    columns[to] = id;
    const joint = jointLine(from, to, before, columns);
    if (joint !== undefined) lines.push(joint);
    lines.push(nodeLine(columns, to, label));
    above = new Set(
      columns.flatMap((it, column) => it === undefined ? [] : [column]),
    );
    if ((waiting.get(id) ?? 0) === 0) columns[to] = undefined;
  }
  return lines.map((line) => `${line}\n`).join("");
}

/**
 * The column of a node: below one that it needs, if that rail ends here; else
 * the first that is free, but never right below something unrelated.
 */
function place(
  columns: readonly (string | undefined)[],
  from: ReadonlySet<number>,
  above: ReadonlySet<number>,
): number {
  const free = (column: number) => columns[column] === undefined;
  const below = [...from].filter(free).sort((a, b) => a - b)[0];
  if (below !== undefined) return below;
  for (let column = 0;; column++) {
    if (free(column) && (from.size > 0 || !above.has(column))) return column;
  }
}

/** The line that leads rails to a node; undefined if its only rail comes straight down. */
function jointLine(
  from: ReadonlySet<number>,
  to: number,
  before: readonly boolean[],
  after: readonly (string | undefined)[],
): string | undefined {
  const ends = [...from, to];
  const [first, last] = [Math.min(...ends), Math.max(...ends)];
  if (from.size === 0 || first === last) return undefined;
  let line = "";
  for (
    let column = 0;
    column < Math.max(before.length, after.length);
    column++
  ) {
    const within = column >= first && column <= last;
    const joined = from.has(column) || column === to;
    const up = before[column] === true;
    const down = after[column] !== undefined;
    const right = column >= first && column < last;
    line += within && !joined
      // A rail that only crosses goes on top of the others.
      ? (up ? "│" : "─")
      : glyph({ up, down, left: within && column > first, right });
    line += right ? "──" : "  ";
  }
  return line.trimEnd();
}

function nodeLine(
  columns: readonly (string | undefined)[],
  at: number,
  label: string,
): string {
  const cells = columns.map((it, column) =>
    column === at ? "●" : it === undefined ? " " : "│"
  );
  return `${cells.join("  ").trimEnd()}  ${label}`;
}

/** Characters by the sides that a rail leaves them on: up, down, left, right. */
const GLYPHS: Readonly<Record<string, string>> = {
  "0011": "─",
  "1100": "│",
  "1001": "╰",
  "1010": "╯",
  "1011": "┴",
  "0101": "╭",
  "0110": "╮",
  "0111": "┬",
  "1101": "├",
  "1110": "┤",
  "1111": "┼",
};

function glyph({ up, down, left, right }: Cell): string {
  return GLYPHS[[up, down, left, right].map(Number).join("")] ?? " ";
}

/** What each node needs, less what another of its needs already needs. */
function reduceEdges(
  nodes: readonly PictureNode[],
): Map<string, readonly string[]> {
  const reached = new Map<string, Set<string>>();
  const edges = new Map<string, readonly string[]>();
  for (const { id, needs } of nodes) {
    const implied = new Set(needs.flatMap((need) => [...reached.get(need)!]));
    edges.set(id, needs.filter((need) => !implied.has(need)));
    reached.set(id, new Set([...needs, ...implied]));
  }
  return edges;
}

import type { Graph } from "./graph.ts";
import { didYouMean } from "./suggest.ts";

/** Stages that patterns match, and what is wrong with those that match none. */
export interface Matched {
  /** Ids in the order of the graph. */
  readonly stages: readonly string[];
  readonly problems: readonly string[];
}

/**
 * Finds stages by id (`train@mrpc,seed=0`), by name (`train`), by the start
 * of an id up to the end of a component (`train@mrpc`), or by a glob in which
 * `*` stands for any text and `?` for one character (`train-*@mrpc*`).
 */
export function matchStages(
  graph: Graph,
  patterns: readonly string[],
): Matched {
  const ids = [...graph.stages.keys()];
  const selected = new Set<string>();
  const problems: string[] = [];
  for (const pattern of patterns) {
    const matches = matcher(pattern);
    const matching = ids.filter(matches);
    if (matching.length === 0) {
      const names = [...graph.stages.values()].map(({ name }) => name);
      const hint = didYouMean(pattern, new Set(ids.flatMap(prefixes))) ||
        `; there are ${
          [...new Set(names)].map((name) => `"${name}"`).join(", ")
        }`;
      problems.push(`No stage matches "${pattern}"${hint}`);
    }
    for (const id of matching) selected.add(id);
  }
  return { stages: ids.filter((id) => selected.has(id)), problems };
}

/** Everything that matches a stage by the start of its id: `a`, `a@x`, `a@x,y=1`. */
function prefixes(id: string): string[] {
  const ends = [...id.matchAll(/[@,]|$/g)].map(({ index }) => index);
  return ends.map((end) => id.slice(0, end));
}

function matcher(pattern: string): (id: string) => boolean {
  if (/[*?]/.test(pattern)) {
    const source = pattern.replace(/\*+/g, "*").replace(
      /[^\w]/g,
      (it) => it === "*" ? ".*" : it === "?" ? "." : `\\${it}`,
    );
    const regExp = new RegExp(`^${source}$`, "s");
    return (id) => regExp.test(id);
  }
  return (id) =>
    id.startsWith(pattern) &&
    ["", "@", ","].includes(id.charAt(pattern.length));
}

/**
 * A pipeline as plain data: stages with everything resolved, in the order of a
 * run.
 */
import type { z } from "zod";
import type { StageSettings } from "./schema.ts";
import type { Task } from "./task.ts";

/**
 * A stage at one combination of its matrix, with references resolved, and its
 * resources, mutex, retries and timeout.
 */
export interface GraphStage extends z.output<typeof StageSettings> {
  /**
   * Name and matrix values, numbers with their dimension:
   * `train-dylora@mrpc,seed=0`.
   */
  readonly id: string;
  /** Name in the pipeline file: `train-dylora`. */
  readonly name: string;
  readonly matrix: Readonly<Record<string, string | number>>;
  /** Name of the task: `train-dylora`. */
  readonly task: string;
  /** `file:` URL of the task's module. */
  readonly module: string;
  readonly declaration: StageDeclaration;
  /** Parameters, validated, with defaults filled in. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Ids of the stages connected to each input, in the order of the matrix. */
  readonly inputs: Readonly<Record<string, readonly string[]>>;
}

/** The parts of a task that planning needs, with defaults filled in. */
export interface StageDeclaration extends Pick<Task, "inputs" | "output"> {
  /** Names of the runtimes that it needs. */
  readonly needs: readonly string[];
  /** True if it sees the durations and metrics of its inputs. */
  readonly timings: boolean;
  /**
   * True if its stages belong where the scheduler runs: they need the network,
   * or little else.
   */
  readonly local: boolean;
  /** True if the task has `sources`, which are read on every plan. */
  readonly sources: boolean;
}

/**
 * The parts of a task that planning needs, as plain data.
 *
 * A graph contains no functions, so it can be stored between two commands. The
 * functions of a task (`sources`, folders of `permissions`, `run`) are
 * available through `loadTask()` with the stage's `module`.
 */
export function declarationOf(task: Task): StageDeclaration {
  return {
    inputs: task.inputs,
    output: task.output,
    needs: task.needs ?? [],
    timings: task.timings ?? false,
    local: task.small === true || task.permissions?.net === true,
    sources: task.sources !== undefined,
  };
}

/** A pipeline with all stages expanded, in topological order. */
export interface Graph {
  readonly pipeline: string;
  /** What the pipeline is for, as its file says. */
  readonly description?: string | undefined;
  readonly stages: ReadonlyMap<string, GraphStage>;
  /** Files to print after a run, such as a report. */
  readonly show: readonly Shown[];
}

/** A file of a stage's artifact to print after a run. */
export interface Shown {
  readonly stage: string;
  /** Relative to the artifact's folder, with forward slashes. */
  readonly file: string;
}

/** The stages of one name, as a drawing of a graph shows them. */
export interface StageGroup {
  readonly name: string;
  /** Ids of the stages. */
  readonly stages: readonly string[];
  /** Names of the groups that it depends on. */
  readonly inputs: readonly string[];
  /** These without those that others imply. */
  readonly needs: readonly string[];
  /** Number of groups on the longest path to it. */
  readonly depth: number;
}

/**
 * Groups stages by name.
 *
 * @param stages In the order of the graph, in which a name follows those that
 * it needs.
 */
export function groupStages(
  stages: readonly Pick<GraphStage, "id" | "name" | "inputs">[],
): StageGroup[] {
  const names = new Map(stages.map(({ id, name }) => [id, name]));
  const groups = [...Map.groupBy(stages, ({ name }) => name)]
    .map(([id, members]) => {
      const needed = members.flatMap((it) => Object.values(it.inputs).flat());
      // Stages that are not drawn have no name here.
      const needs = new Set(needed.flatMap((it) => names.get(it) ?? []));
      return { id, members, needs: [...needs] };
    });
  const edges = reduceEdges(groups);
  const depths = new Map<string, number>();
  return groups.map(({ id: name, members, needs: inputs }) => {
    const needs = edges.get(name)!;
    const depth = Math.max(-1, ...needs.map((it) => depths.get(it)!)) + 1;
    depths.set(name, depth);
    return {
      name,
      stages: members.map(({ id }) => id),
      inputs,
      needs,
      depth,
    };
  });
}

/**
 * The dependencies of each node, without those that others imply (the
 * transitive reduction): of `c` -> `a` if there are `c` -> `b` and `b` -> `a`.
 *
 * @param nodes In topological order
 */
export function reduceEdges(
  nodes: readonly { readonly id: string; readonly needs: readonly string[] }[],
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

/**
 * The stages of a graph, by id, as far as {@linkcode matchStages} reads them.
 */
export interface NamedStages {
  readonly stages: ReadonlyMap<string, Pick<GraphStage, "name">>;
}

/**
 * Finds stages, in the order of the graph, by id (`train@mrpc,seed=0`), by name
 * (`train`), by the first components of an id (`train@mrpc`), or by a glob in
 * which `*` matches any text and `?` one character (`train-*@mrpc*`); patterns
 * without a match are problems.
 */
export async function matchStages(
  graph: NamedStages,
  patterns: readonly string[],
): Promise<{ readonly stages: string[]; readonly problems: string[] }> {
  const ids = [...graph.stages.keys()];
  const selected = new Set<string>();
  const problems: string[] = [];
  for (const pattern of patterns) {
    const matches = matcher(pattern);
    const matching = ids.filter(matches);
    if (matching.length === 0) {
      const { didYouMean } = await import("./did_you_mean.ts");
      const names = [...graph.stages.values()].map(({ name }) => name);
      const hint = didYouMean(pattern, new Set(ids.flatMap(prefixes))) ||
        `; the stages are ${
          [...new Set(names)].map((name) => `"${name}"`).join(", ")
        }`;
      problems.push(`No stage matches "${pattern}"${hint}`);
    }
    for (const id of matching) selected.add(id);
  }
  return { stages: ids.filter((id) => selected.has(id)), problems };
}

/** The id and its first components: `a`, `a@x`, `a@x,y=1`. */
function prefixes(id: string): string[] {
  const ends = [...id.matchAll(/[@,]|$/g)].map(({ index }) => index);
  return ends.map((end) => id.slice(0, end));
}

function matcher(pattern: string): (id: string) => boolean {
  if (/[*?]/.test(pattern)) {
    const source = RegExp.escape(pattern)
      .replaceAll("\\*", ".*").replaceAll("\\?", ".");
    const regExp = new RegExp(`^${source}$`, "s");
    return (id) => regExp.test(id);
  }
  return (id) =>
    id.startsWith(pattern) &&
    ["", "@", ","].includes(id.charAt(pattern.length));
}

/** From the text of a pipeline file to its graph. */
import { type Definitions, readDefinitions } from "./check.ts";
import { type Content, Expansion, type PlacedStage } from "./expand.ts";
import { didYouMean } from "./did_you_mean.ts";
import {
  FaultList,
  type Mapping,
  PipelineError,
  type PlacedFault,
  SourceText,
} from "./faults.ts";
import type { Declaration, Graph, GraphStage, Shown } from "./graph.ts";
import { Connector, type Edge, readEdges } from "./inputs.ts";
import { type LoadedTask, TaskFolder } from "./load_task.ts";
import { resolveParams, type Setting, settingBehind } from "./params.ts";
import { locate, readYaml } from "./read.ts";
import type { Task } from "./task.ts";

/** What determines the graph of a file, besides its text. */
export interface LoadOptions {
  /** Folder of the task modules. */
  readonly tasks: string;
  /** Profile that overrides parameters. */
  readonly profile?: string | undefined;
  /** Parameter overrides, applied after the profile. */
  readonly settings?: readonly Setting[];
}

/**
 * Checks the text of a pipeline file and expands its stages.
 *
 * @throws {PipelineError} With all faults of the file.
 */
export async function expandPipeline(
  file: string,
  text: string,
  options: LoadOptions,
): Promise<Graph> {
  const source = new SourceText(file, text);
  const { value, faults: unreadable } = await readYaml(text);
  if (unreadable.length > 0) throw new PipelineError(source, unreadable);
  if (value === null) {
    throw new PipelineError(source, [{ message: "The file is empty" }]);
  }
  const faults = new FaultList();
  const definitions = readDefinitions(value, faults);
  const tasks = await findTasks(definitions, options.tasks, faults);
  const contents = new Map<string, Content>();
  const placed = definitions.paramsSound
    ? expand(definitions, value as Mapping, tasks, options, contents, faults)
    : new Map<string, readonly PlacedStage[]>();
  const edges = edgesByStage(definitions, tasks, placed, faults);
  const names = order(definitions, faults);
  const connector = new Connector(placed, faults);
  const show = readShown(value, definitions.names, placed, faults);

  const stages = new Map<string, GraphStage>();
  for (const name of names) {
    const task = tasks.get(name);
    const declaration = task && declarationOf(task.task);
    for (const stage of placed.get(name) ?? []) {
      const inputs = connector.connect(stage, edges.get(name) ?? []);
      const content = contents.get(stage.id);
      if (!task || !declaration || !content) continue;
      stages.set(stage.id, {
        id: stage.id,
        name,
        matrix: stage.place,
        task: definitions.stages.get(name)!.written.task,
        module: task.module,
        declaration,
        params: content.params,
        inputs,
        ...content.settings,
      });
    }
  }
  if (faults.size > 0 || !definitions.head) {
    const { settings = [] } = options;
    throw new PipelineError(
      source,
      await locate(faults.all.map((it) => blamed(it, value, settings)), text),
    );
  }
  return { pipeline: definitions.head.name, stages, show };
}

/** The fault, of the setting instead of the value that the setting gives. */
function blamed(
  fault: PlacedFault,
  file: unknown,
  settings: readonly Setting[],
): PlacedFault {
  const { message, place } = fault;
  const behind = place && settingBehind(
    file,
    place.of === "key" ? place.path.slice(0, -1) : place.path,
    settings,
  );
  return behind === undefined ? fault : {
    message: message.replace(` from "${behind.text}"`, ""),
    setting: behind.setting,
  };
}

async function findTasks(
  { stages }: Definitions,
  folder: string,
  faults: FaultList,
): Promise<Map<string, LoadedTask>> {
  const tasks = new Map<string, LoadedTask>();
  const modules = new TaskFolder(folder);
  for (const { name, written } of stages.values()) {
    const found = await modules.find(written.task);
    if ("problem" in found) {
      faults.addAt(["stages", name, "task"], found.problem);
    } else {
      tasks.set(name, found);
    }
  }
  return tasks;
}

/** The places of the stages by name; the content of each place is added to `contents` by id. */
function expand(
  { stages }: Definitions,
  file: Mapping,
  tasks: ReadonlyMap<string, LoadedTask>,
  { profile, settings = [] }: LoadOptions,
  contents: Map<string, Content>,
  faults: FaultList,
): Map<string, readonly PlacedStage[]> {
  const placed = new Map<string, readonly PlacedStage[]>();
  const params = resolveParams(file, profile, settings, faults);
  const expansion = new Expansion(file, params, faults);
  for (const definition of stages.values()) {
    const places = expansion.place(definition);
    if (places) placed.set(definition.name, places);
    for (const stage of places ?? []) {
      const task = tasks.get(definition.name)?.task;
      const content = expansion.fill(definition, stage, task);
      if (content) contents.set(stage.id, content);
    }
  }
  return placed;
}

function edgesByStage(
  { stages, names }: Definitions,
  tasks: ReadonlyMap<string, LoadedTask>,
  placed: ReadonlyMap<string, readonly PlacedStage[]>,
  faults: FaultList,
): Map<string, readonly Edge[]> {
  const dimensions = new Map<string, readonly string[]>();
  for (const [name, places] of placed) {
    // References to a stage without places cannot be wrong.
    if (places.length === 0) continue;
    const keys = places.flatMap(({ place }) => Object.keys(place));
    dimensions.set(name, [...new Set(keys)]);
  }
  const context = { names, tasks, dimensions, faults };
  const edges = new Map<string, readonly Edge[]>();
  for (const definition of stages.values()) {
    const task = tasks.get(definition.name)?.task;
    edges.set(definition.name, readEdges(definition, task, context));
  }
  return edges;
}

/** Stage names in topological order; cycles are reported and left out. */
function order({ stages }: Definitions, faults: FaultList): readonly string[] {
  const needs = new Map<string, Set<string>>();
  for (const { name, written } of stages.values()) {
    const needed = Object.values(written.inputs).flat()
      .map((reference) => reference.replace(/\[.*/, ""))
      .filter((it) => stages.has(it));
    needs.set(name, new Set(needed));
  }
  const names = orderNames(needs);
  for (const cycle of findCycles(needs, new Set(names))) {
    faults.addAtKey(
      ["stages", cycle[0]!],
      cycle.length === 1
        ? `Stage "${cycle[0]}" needs itself`
        : `Stages depend on one another in a cycle: ${
          [...cycle, cycle[0]].join(" -> ")
        }`,
    );
  }
  return names;
}

/** Stage names with the stages that each needs. */
type Needs = ReadonlyMap<string, ReadonlySet<string>>;

/** Sorts names topologically, without those in or behind a cycle; otherwise their order stays. */
function orderNames(needs: Needs): string[] {
  const waiting = new Map<string, number>();
  const neededBy = new Map<string, string[]>();
  for (const [name, needed] of needs) {
    waiting.set(name, needed.size);
    for (const it of needed) {
      const dependents = neededBy.get(it);
      if (dependents) dependents.push(name);
      else neededBy.set(it, [name]);
    }
  }
  const names = [...needs.keys()].filter((it) => waiting.get(it) === 0);
  for (const name of names) {
    for (const dependent of neededBy.get(name) ?? []) {
      const left = waiting.get(dependent)! - 1;
      waiting.set(dependent, left);
      if (left === 0) names.push(dependent);
    }
  }
  return names;
}

/**
 * Cycles among the names that could not be ordered: `[a, b]` if `a` needs `b`
 * and `b` needs `a`.
 *
 * @param done Names that are ordered; the names that are visited are added.
 */
function findCycles(needs: Needs, done: Set<string>): string[][] {
  const cycles: string[][] = [];
  for (const start of needs.keys()) {
    const walk: string[] = [];
    let name: string | undefined = start;
    while (name !== undefined && !done.has(name)) {
      done.add(name);
      walk.push(name);
      const next: string | undefined = [...needs.get(name)!].find((it) =>
        walk.includes(it) || !done.has(it)
      );
      if (next !== undefined && walk.includes(next)) {
        cycles.push(walk.slice(walk.indexOf(next)));
        break;
      }
      name = next;
    }
  }
  return cycles;
}

/**
 * The files that `show` names: `report/report.md`, or of one stage of a matrix
 * `report@mrpc/report.md`; a name alone shows the file of all its stages.
 */
function readShown(
  file: unknown,
  names: ReadonlySet<string>,
  placed: ReadonlyMap<string, readonly PlacedStage[]>,
  faults: FaultList,
): Shown[] {
  const shown: Shown[] = [];
  const show = (file as { show?: unknown } | null)?.show;
  const texts: [string | undefined, unknown][] = Array.isArray(show)
    ? [...show.entries()].map(([index, it]) => [String(index), it])
    : [[undefined, show]];
  for (const [index, text] of texts) {
    if (typeof text !== "string" || !text.includes("/")) continue;
    const at = index === undefined ? ["show"] : ["show", Number(index)];
    const slash = text.indexOf("/");
    const wanted = text.slice(0, slash);
    const path = text.slice(slash + 1);
    if (path.split("/").some((it) => ["", ".", ".."].includes(it))) {
      faults.addAt(
        at,
        `"${path}" must be a path inside the stage's artifact`,
      );
    }
    const name = wanted.replace(/@.*/, "");
    const known = placed.get(name)?.map(({ id }) => id);
    const ids = known?.filter((id) => wanted === name || wanted === id) ?? [];
    if (!names.has(name)) {
      faults.addAt(at, `Unknown stage "${name}"${didYouMean(name, names)}`);
    } else if (known !== undefined && ids.length === 0) {
      faults.addAt(at, `Unknown stage "${wanted}"${didYouMean(wanted, known)}`);
    }
    shown.push(...ids.map((stage) => ({ stage, file: path })));
  }
  return shown;
}

function declarationOf(task: Task): Declaration {
  return {
    inputs: task.inputs,
    output: task.output,
    needs: task.needs ?? [],
    timings: task.timings ?? false,
    places: task.places ?? false,
    local: task.small === true || task.permissions?.net === true,
    sources: task.sources !== undefined,
  };
}

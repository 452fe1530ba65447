import { Connector } from "./connect.ts";
import { type Definitions, readDefinitions } from "./definitions.ts";
import { type Edge, readEdges } from "./edges.ts";
import { type Content, Expansion, type PlacedStage } from "./expand.ts";
import { type Fault, FaultList, PipelineError, SourceText } from "./fault.ts";
import type { Declaration, Graph, GraphStage } from "./graph.ts";
import { orderNames } from "./order.ts";
import { resolveParams, type Setting } from "./params.ts";
import { readText } from "./read_text.ts";
import { readShown } from "./shown.ts";
import type { Task } from "./task.ts";
import { type LoadedTask, TaskFolder } from "./task_folder.ts";
import { keySpanAt, parseYaml, spanAt, type Tree } from "./tree.ts";

/** What decides, together with the file, what its graph is. */
export interface LoadOptions {
  /** Folder of the task modules. */
  readonly tasks: string;
  /** Profile that changes the parameters. */
  readonly profile?: string | undefined;
  /** Changes of parameters, applied after the profile's. */
  readonly settings?: readonly Setting[];
}

/**
 * Reads a pipeline file, checks all of it, and expands its stages.
 *
 * @throws {PipelineError} With every fault that the file has.
 */
export async function loadPipeline(
  file: string,
  options: LoadOptions,
): Promise<Graph> {
  return await expandPipeline(file, await readText(file), options);
}

/** Checks the text of a pipeline file and expands its stages; see `loadPipeline()`. */
export async function expandPipeline(
  file: string,
  text: string,
  options: LoadOptions,
): Promise<Graph> {
  const source = new SourceText(file, text);
  const { tree, faults: syntax } = parseYaml(text);
  if (tree === undefined) throw new PipelineError(source, syntax);

  const faults = new FaultList();
  for (const { message, span } of syntax) faults.add(message, span);
  const definitions = readDefinitions(tree, faults);
  const tasks = await findTasks(definitions, options.tasks, tree, faults);
  const { placed, contents } = expand(
    {
      ...definitions,
      paramsSound: definitions.paramsSound && !spoilsParams(tree, syntax),
    },
    tasks,
    options,
    tree,
    faults,
  );
  const edges = connectNames(definitions, tasks, placed, tree, faults);
  const names = order(definitions, tree, faults);
  const connector = new Connector(placed, faults);
  const show = readShown(tree, definitions.names, placed, faults);

  const stages = new Map<string, GraphStage>();
  for (const name of names) {
    const task = tasks.get(name);
    const declaration = task && declarationOf(task.task);
    const position = source.position(keySpanAt(tree, ["stages", name]).offset);
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
        position,
      });
    }
  }
  if (faults.size > 0 || !definitions.head) {
    throw new PipelineError(source, withoutEchoes(faults.all, syntax));
  }
  return { pipeline: definitions.head.name, file, stages, show };
}

/** The faults, without what else is wrong with a value only because it could not be read. */
function withoutEchoes(
  faults: readonly Fault[],
  syntax: readonly Fault[],
): readonly Fault[] {
  const messages = new Map(
    syntax.map(({ message, span }) => [span?.offset, message]),
  );
  return faults.filter(({ message, span }) =>
    span === undefined || !messages.has(span.offset) ||
    messages.get(span.offset) === message
  );
}

/** True if a value of the parameters could not be read: what refers to it would seem wrong too. */
function spoilsParams(tree: Tree, syntax: readonly Fault[]): boolean {
  return ["params", "profiles"].some((name) => {
    const { offset, length } = tree.children?.get(name)?.span ??
      { offset: 0, length: 0 };
    return syntax.some(({ span }) =>
      span !== undefined && span.offset >= offset &&
      span.offset < offset + length
    );
  });
}

async function findTasks(
  { stages }: Definitions,
  folder: string,
  tree: Tree,
  faults: FaultList,
): Promise<Map<string, LoadedTask>> {
  const tasks = new Map<string, LoadedTask>();
  const modules = new TaskFolder(folder);
  for (const { name, written } of stages.values()) {
    const found = await modules.find(written.task);
    if ("problem" in found) {
      faults.add(found.problem, spanAt(tree, ["stages", name, "task"]));
    } else {
      tasks.set(name, found);
    }
  }
  return tasks;
}

/** Places of the stages by name, and what they contain by id. */
interface Expanded {
  readonly placed: ReadonlyMap<string, readonly PlacedStage[]>;
  readonly contents: ReadonlyMap<string, Content>;
}

function expand(
  { paramsSound, stages }: Definitions,
  tasks: ReadonlyMap<string, LoadedTask>,
  { profile, settings = [] }: LoadOptions,
  tree: Tree,
  faults: FaultList,
): Expanded {
  const placed = new Map<string, readonly PlacedStage[]>();
  const contents = new Map<string, Content>();
  if (paramsSound) {
    const params = resolveParams(tree, profile, settings, faults);
    const expansion = new Expansion(tree, params, faults);
    for (const definition of stages.values()) {
      const places = expansion.place(definition);
      if (places) placed.set(definition.name, places);
      for (const stage of places ?? []) {
        const task = tasks.get(definition.name)?.task;
        const content = expansion.fill(definition, stage, task);
        if (content) contents.set(stage.id, content);
      }
    }
  }
  return { placed, contents };
}

function connectNames(
  { stages, names }: Definitions,
  tasks: ReadonlyMap<string, LoadedTask>,
  placed: Expanded["placed"],
  tree: Tree,
  faults: FaultList,
): Map<string, readonly Edge[]> {
  const dimensions = new Map<string, readonly string[]>();
  for (const [name, places] of placed) {
    // Of a stage whose places are all excluded, no reference can go wrong.
    if (places.length === 0) continue;
    const keys = places.flatMap(({ place }) => Object.keys(place));
    dimensions.set(name, [...new Set(keys)]);
  }
  const context = { tree, names, tasks, dimensions, faults };
  const edges = new Map<string, readonly Edge[]>();
  for (const definition of stages.values()) {
    const task = tasks.get(definition.name)?.task;
    if (!task) continue;
    edges.set(definition.name, readEdges(definition, task, context));
  }
  return edges;
}

/** Names of the stages in topological order; those in a cycle are reported and left out. */
function order(
  { stages }: Definitions,
  tree: Tree,
  faults: FaultList,
): readonly string[] {
  const needs = new Map<string, Set<string>>();
  for (const { name, written } of stages.values()) {
    const needed = Object.values(written.inputs).flat()
      .map((reference) => reference.replace(/\[.*/, ""))
      .filter((it) => stages.has(it));
    needs.set(name, new Set(needed));
  }
  const { names, cycles } = orderNames(needs);
  for (const cycle of cycles) {
    faults.add(
      cycle.length === 1
        ? `Stage "${cycle[0]}" needs itself`
        : `Stages need one another: ${[...cycle, cycle[0]].join(" -> ")}`,
      keySpanAt(tree, ["stages", cycle[0]!]),
    );
  }
  return names;
}

function declarationOf(task: Task): Declaration {
  return {
    inputs: task.inputs,
    output: task.output,
    needs: task.needs ?? [],
    timings: task.timings ?? false,
    sources: task.sources !== undefined,
  };
}

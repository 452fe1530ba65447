/** From the text of a pipeline file to its graph. */
import { type Definition, type Definitions, readDefinitions } from "./check.ts";
import { Expansion } from "./expand.ts";
import { didYouMean } from "./did_you_mean.ts";
import {
  FaultList,
  type Mapping,
  PipelineError,
  type PlacedFault,
  SourceText,
  valueAt,
} from "./faults.ts";
import {
  declarationOf,
  type Graph,
  type GraphStage,
  type Shown,
} from "./graph.ts";
import { connect, readEdges, type StageFamily } from "./inputs.ts";
import { type LoadedTask, TaskFolder } from "./load_task.ts";
import { resolveParams, type Setting, settingBehind } from "./params.ts";
import { locate, readYaml } from "./read.ts";

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
  const { settings = [] } = options;
  const source = new SourceText(file, text);
  const { value, faults: unreadable } = await readYaml(text);
  if (unreadable.length > 0) throw new PipelineError(source, unreadable);
  if (value === null) {
    throw new PipelineError(source, [{ message: "The file is empty" }]);
  }
  const faults = new FaultList();
  const written = readDefinitions(value, faults);
  const tasks = await findTasks(written, options.tasks, faults);
  const definitions = withDefaults(written, tasks, faults);
  const { names } = definitions;
  const ordered = order(definitions, faults);
  const expansion = definitions.paramsSound
    ? new Expansion(
      value as Mapping,
      resolveParams(value as Mapping, options.profile, settings, faults),
      faults,
    )
    : undefined;
  const families = new Map<string, StageFamily>();
  const stages = new Map<string, GraphStage>();
  for (const name of new Set([...ordered, ...definitions.stages.keys()])) {
    const definition = definitions.stages.get(name)!;
    const loaded = tasks.get(name);
    const declaration = loaded && declarationOf(loaded.task);
    const context = { names, tasks, families, faults };
    const edges = readEdges(definition, loaded?.task, context);
    const family = expansion?.instances(definition, edges, families);
    if (family && edges) families.set(name, family);
    for (const stage of family?.stages ?? []) {
      const content = expansion!
        .fill(definition, stage, loaded?.task, edges === undefined);
      if (!edges) continue;
      const inputs = connect(stage, edges, families, faults);
      if (!loaded || !declaration || !content) continue;
      stages.set(stage.id, {
        id: stage.id,
        name,
        matrix: stage.coordinates,
        task: definition.written.task,
        module: loaded.module,
        declaration,
        params: content.params,
        inputs,
        ...content.settings,
      });
    }
  }
  const show = readShown(value, names, families, faults);
  if (faults.size > 0 || !definitions.head) {
    const placed = faults.all
      .map((it) => inDefaults(it, value, definitions))
      .map((it) => blamed(it, value, settings));
    throw new PipelineError(source, await locate(placed, text));
  }
  const { name: pipeline, description } = definitions.head;
  return { pipeline, description, stages, show };
}

/** The fault, of what `defaults` has if the stage has its value from there. */
function inDefaults(
  fault: PlacedFault,
  file: unknown,
  { stages }: Definitions,
): PlacedFault {
  const { place } = fault;
  const [root, name, section, key, ...rest] = place?.path ?? [];
  if (!place || root !== "stages" || section === undefined) return fault;
  const inner = key === undefined ? [] : [key];
  const task = stages.get(String(name))?.written.task ?? "";
  const general = [section, ...(section === "with" ? [task] : []), ...inner];
  return valueAt(file, [root, name!, section, ...inner]) === undefined &&
      valueAt(file, ["defaults", ...general]) !== undefined
    ? { ...fault, place: { ...place, path: ["defaults", ...general, ...rest] } }
    : fault;
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
    const task = await modules.find(written.task);
    if ("problem" in task) {
      faults.addAt(["stages", name, "task"], task.problem);
    } else {
      tasks.set(name, task);
    }
  }
  return tasks;
}

/** Adds to each stage what `defaults` has and the stage does not. */
function withDefaults(
  definitions: Definitions,
  tasks: ReadonlyMap<string, LoadedTask>,
  faults: FaultList,
): Definitions {
  const { defaults } = definitions;
  const usable = { with: new Set<string>(), inputs: new Set<string>() };
  const stages = new Map<string, Definition>();
  for (const [name, definition] of definitions.stages) {
    const { written } = definition;
    const declared = tasks.get(name)?.task.inputs ?? {};
    usable.with.add(written.task);
    for (const input of Object.keys(declared)) usable.inputs.add(input);
    const inputs = Object.entries(defaults.inputs)
      .filter(([input]) => Object.hasOwn(declared, input));
    stages.set(name, {
      ...definition,
      written: {
        ...written,
        with: { ...defaults.with[written.task], ...written.with },
        inputs: { ...Object.fromEntries(inputs), ...written.inputs },
        resources: { ...defaults.resources, ...written.resources },
        retries: written.retries ?? defaults.retries,
        timeout: written.timeout ?? defaults.timeout,
      },
    });
  }
  for (const section of ["with", "inputs"] as const) {
    const words = usable[section];
    for (const key of Object.keys(defaults[section])) {
      // Of a stage with an unknown task, the inputs are unknown.
      if (words.has(key) || tasks.size < definitions.names.size) continue;
      const what = section === "with" ? "runs the task" : "has the input";
      faults.addAtKey(
        ["defaults", section, key],
        `No stage ${what} "${key}"${didYouMean(key, words)}`,
      );
    }
  }
  return { ...definitions, stages };
}

/**
 * Stage names in topological order; cycles, and what is behind them, are
 * reported and left out.
 */
function order({ stages }: Definitions, faults: FaultList): readonly string[] {
  const needs = new Map(
    stages.values().map(({ name, written }) => {
      const needed = Object.values(written.inputs).flat()
        .map((reference) => reference.replace(/\[.*/, ""));
      return [name, needed.filter((it) => stages.has(it))];
    }),
  );
  const names: string[] = [];
  const left = new Set(needs.keys());
  const isReady = (name: string) =>
    !needs.get(name)!.some((it) => left.has(it));
  for (;;) {
    const ready = [...left].filter(isReady);
    if (ready.length === 0) break;
    names.push(...ready);
    for (const name of ready) left.delete(name);
  }
  while (left.size > 0) {
    const walk: string[] = [];
    let [name] = left;
    while (name !== undefined && !walk.includes(name)) {
      walk.push(name);
      name = needs.get(name)!.find((it) => left.has(it));
    }
    for (const it of walk) left.delete(it);
    if (name === undefined) continue;
    const cycle = walk.slice(walk.indexOf(name));
    faults.addAtKey(
      ["stages", name],
      cycle.length === 1
        ? `Stage "${name}" needs itself`
        : `Stages depend on one another in a cycle: ${
          [...cycle, name].join(" -> ")
        }`,
    );
  }
  return names;
}

/**
 * The files that `show` names: `report/report.md`, or of one stage of a matrix
 * `report@mrpc/report.md`; a name alone shows the file of all its stages.
 */
function readShown(
  file: unknown,
  names: ReadonlySet<string>,
  families: ReadonlyMap<string, StageFamily>,
  faults: FaultList,
): Shown[] {
  const shown: Shown[] = [];
  const show = (file as { show?: unknown } | null)?.show;
  for (const [index, text] of [show].flat().entries()) {
    if (typeof text !== "string" || !text.includes("/")) continue;
    const at = Array.isArray(show) ? ["show", index] : ["show"];
    const slash = text.indexOf("/");
    const wanted = text.slice(0, slash);
    const path = text.slice(slash + 1);
    const name = wanted.replace(/@.*/, "");
    const allIds = families.get(name)?.stages.map(({ id }) => id);
    const ids = allIds?.filter((id) => wanted === name || wanted === id) ?? [];
    if (!names.has(name)) {
      faults.addAt(at, `Unknown stage "${name}"${didYouMean(name, names)}`);
    } else if (allIds && allIds.length > 0 && ids.length === 0) {
      faults.addAt(
        at,
        `Unknown stage "${wanted}"${didYouMean(wanted, allIds)}`,
      );
    }
    shown.push(...ids.map((stage) => ({ stage, file: path })));
  }
  return shown;
}

/** Lists pipelines and their parameters, as their files are written. */
import {
  isMapping,
  type Mapping,
  PipelineError,
  printable,
  readText,
  SourceText,
} from "../../pipeline/faults.ts";
import { readYaml } from "../../pipeline/read.ts";
import { MERGE_KEY } from "../../pipeline/references.ts";
import { join } from "../../files/paths.ts";
import { byDotPath } from "../../store/manifests.ts";
import {
  type Arguments,
  asTyped,
  columns,
  WIDTH,
  wrap,
} from "../arguments/arguments.ts";
import { findPipeline, pipelineNames } from "../arguments/open_pipeline.ts";
import { PROJECT, tasksOf } from "../arguments/options.ts";
import { writeOut } from "../terminal/renderer.ts";

/** Prints the pipelines in `pipelines/` with their descriptions. */
export async function printPipelines(args: Arguments): Promise<void> {
  const pipelines = await Promise.all(
    pipelineNames().map(async (name) => {
      const file = join(PROJECT, "pipelines", `${name}.yaml`);
      const { value } = await readYaml(await readText(file));
      const written = isMapping(value) ? value.description : undefined;
      const description = typeof written === "string"
        ? written
        : "(no description, or invalid: see its --help)";
      return { name, description };
    }),
  );
  if (args.has("json")) {
    writeOut(pipelines.map((it) => `${JSON.stringify(it)}\n`).join(""));
    return;
  }
  const rows = pipelines.map(({ name, description }) =>
    [name, printable(description)] as const
  );
  const commands = [
    ["pipeline NAME", "run a pipeline"],
    ["pipeline NAME --help", "see its parameters"],
    ["init FILE", "write a pipeline for your own data"],
    ["pipeline --help", "see all options"],
  ].map(([words, effect]) => [asTyped(`deno task ${words}`), effect!] as const);
  const lines = ["Pipelines:", ...columns(rows), "", ...columns(commands), ""];
  writeOut(lines.join("\n"));
}

/**
 * The help text of a pipeline: its parameters with defaults, its profiles and
 * stages.
 */
export async function helpOfPipeline(args: Arguments): Promise<string> {
  const [pipeline] = args.positionals;
  const { name, description, parameters, profiles, stages } = await outlineOf(
    pipeline!,
    tasksOf(args),
  );
  const { stringify } = await import("@std/yaml");
  const flow = (value: unknown) =>
    stringify(value, { flowLevel: 0, lineWidth: -1 }).trimEnd();
  const section = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : ["", title, ...lines];
  return printable([
    `Usage: deno task pipeline ${pipeline} [STAGE...] [OPTION...]`,
    "",
    ...wrap(description === "" ? name : description, WIDTH),
    ...section(
      "Parameters (-S KEY=VALUE):",
      parameters.flatMap(({ name, value, description }) => [
        value === undefined ? `  ${name}` : `  ${name} = ${flow(value)}`,
        ...description === "" ? [] : wrap(`      ${description}`, WIDTH),
      ]),
    ),
    ...section(
      "Profiles (--profile NAME):",
      columns(
        Object.entries(profiles).map(([name, changes]) =>
          [name, flow(changes).replace(/^\{(.*)\}$/s, "$1")] as const
        ),
      ),
    ),
    ...section("Stages:", columns(Object.entries(stages))),
    "",
    'Run "deno task pipeline --help" for all options.',
  ].join("\n"));
}

/**
 * Reads a pipeline file for help and completion, as written: not expanded, and
 * checked for syntax only.
 *
 * @param nameOrFile A name in `pipelines/`, or a file.
 * @param tasks Folder of the tasks, whose descriptions are used for parameters
 * without a comment.
 * @throws {UsageError} If there is no such pipeline.
 * @throws {PipelineError} If the file is not YAML with a mapping in it.
 */
async function outlineOf(nameOrFile: string, tasks: string) {
  const file = await findPipeline(nameOrFile);
  const text = await readText(file);
  const { value, faults } = await readYaml(text);
  if (!isMapping(value)) {
    throw new PipelineError(
      new SourceText(file, text),
      faults.length > 0 ? faults : [{ message: "The file is not a mapping" }],
    );
  }
  const { name, description, profiles } = value;
  const stages = isMapping(value.stages) ? value.stages : {};
  const params = isMapping(value.params) ? value.params : {};
  const comments = await paramComments(text);
  const descriptions = await descriptionsOf(value, tasks);
  return {
    name: typeof name === "string" ? name : nameOrFile,
    description: typeof description === "string" ? description : "",
    /** By dot path, as `-S` sets them. */
    parameters: byDotPath(params).map(([name, value]) => ({
      name,
      value,
      /**
       * Its comment in the file, else the description of the task's parameter.
       */
      description: comments.get(name) ??
        comments.get(name.replace(/\..*/, "")) ?? descriptions.get(name) ?? "",
    })),
    /** Changed parameters, by the name of the profile. */
    profiles: isMapping(profiles) ? profiles : {},
    /** Task of each stage. */
    stages: Object.fromEntries(
      Object.entries(stages).map(([name, stage]) => [
        name,
        isMapping(stage) ? String(stage.task ?? "") : "",
      ]),
    ),
  };
}

/**
 * Comments on parameters by dot path: on the lines above a key, or after its
 * value.
 */
async function paramComments(text: string): Promise<Map<string, string>> {
  const { isMap, isScalar, parseDocument } = await import("yaml");
  const comments = new Map<string, string>();
  const visit = (node: unknown, path: string) => {
    if (!isMap<unknown, { comment?: string; commentBefore?: string }>(node)) {
      return;
    }
    for (const [i, { key, value }] of node.items.entries()) {
      if (!isScalar(key)) continue;
      const name = `${path}${key.value}`;
      // What is above the first parameter belongs to the mapping.
      const first = i === 0 && path === "" ? node.commentBefore : undefined;
      const { commentBefore = first } = key;
      const lines = [commentBefore, value?.commentBefore, value?.comment]
        .flatMap((it) => it?.trim().split(/\s*\n\s*/) ?? []);
      if (lines.length > 0) comments.set(name, lines.join(" "));
      visit(value, `${name}.`);
    }
  };
  visit(parseDocument(text).get("params", true), "");
  return comments;
}

/**
 * Descriptions of the task parameters to which pipeline parameters are passed
 * unchanged, by dot path: under `with` of stages or `defaults`, as `key:
 * ${params.path}`, or as whole mappings by the merge key.
 */
async function descriptionsOf(
  { stages, defaults }: Mapping,
  folder: string,
): Promise<Map<string, string>> {
  const { TaskFolder } = await import("../../pipeline/load_task.ts");
  const tasks = new TaskFolder(folder);
  const descriptions = new Map<string, string>();
  const describe = (path: string, schema: { description?: string } = {}) => {
    const text = schema.description;
    if (text === undefined || descriptions.has(path)) return;
    descriptions.set(path, text);
  };
  const general = isMapping(defaults) && isMapping(defaults.with)
    ? Object.entries(defaults.with).map((it) => ({ task: it[0], with: it[1] }))
    : [];
  for (const stage of [...Object.values(stages ?? {}), ...general]) {
    if (!isMapping(stage) || !isMapping(stage.with)) continue;
    const task = await tasks.find(String(stage.task));
    if ("problem" in task) continue;
    const { shape } = task.task.params;
    for (const [key, value] of Object.entries(stage.with)) {
      for (const one of [value].flat()) {
        const [, path] = /^\$\{params\.([\w.-]+)\}$/.exec(String(one)) ?? [];
        if (path === undefined) continue;
        if (key !== MERGE_KEY) describe(path, shape[key]);
        else {
          for (const [name, schema] of Object.entries(shape)) {
            describe(`${path}.${name}`, schema as { description?: string });
          }
        }
      }
    }
  }
  return descriptions;
}

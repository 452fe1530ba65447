/**
 * For commands that read the result of a stage, which the parameters and the
 * engine of the command line select, or an adapter.
 */
import type { Graph, GraphStage } from "../../pipeline/graph.ts";
import type { Report } from "../../report/report.ts";
import { NoResultError } from "../../scheduler/failure.ts";
import { type OpenResults, openResults } from "../../scheduler/results.ts";
import { join } from "../../files/paths.ts";
import {
  type Arguments,
  readOptions,
  UsageError,
} from "../arguments/arguments.ts";
import { KEY_OPTIONS } from "../arguments/options.ts";
import { openRun } from "../runtime/executor.ts";

/**
 * The folder that `--adapter` names instead of a stage; undefined without it.
 *
 * @param used Options of {@linkcode KEY_OPTIONS} that have an effect all the
 * same
 * @throws {UsageError} If others of them are given, which select a stage's
 * result.
 */
export function adapterFolder(args: Arguments, used = ""): string | undefined {
  const folder = args.value("adapter");
  if (folder === undefined) return undefined;
  const names = readOptions(used).map(({ name }) => name);
  const unused = readOptions(KEY_OPTIONS)
    .find(({ name }) => !names.includes(name) && args.has(name));
  if (unused === undefined) return folder;
  throw new UsageError(
    `Option "--${unused.name}" does not apply to "--adapter"`,
  );
}

/** Stages whose results are opened, by the name of the input. */
type StageInputs = Readonly<Record<string, GraphStage | undefined>>;

/** Results in private folders, removed on disposal. */
export interface OpenInputs extends OpenResults {
  /**
   * Folders by the name of the input: `adapter`, and those that were asked for.
   */
  readonly inputs: Readonly<Record<string, string>>;
}

/** A stage that makes an adapter. */
export interface AdapterStage {
  readonly graph: Graph;
  readonly stage: GraphStage;
  /**
   * The stage of its base model: the input "model", or that of the input
   * "adapter".
   */
  readonly model: GraphStage | undefined;
  /**
   * Opens its result, as "adapter", and those of other stages that it needs.
   */
  readonly open: (others?: StageInputs) => Promise<OpenInputs>;
  /**
   * Opens as well, as "report", the only report on the adapter, or that of
   * several which the pipeline shows, if there is one with a result.
   *
   * @throws {NoResultError} If the report is required and has no result.
   */
  readonly openReported: (
    others: StageInputs,
    isRequired?: boolean,
  ) => Promise<OpenInputs>;
}

/**
 * Finds the stage that makes an adapter: that of the second argument, in the
 * pipeline of the first. The second one defaults to the last adapter in the
 * chain: the first stage that makes an adapter of which no other is made.
 *
 * @param kinds Kinds of artifacts that count as adapters.
 * @throws {UsageError} If no stage makes an adapter, or several do that the
 * second argument selects.
 */
export async function adapterStage(
  args: Arguments,
  kinds: readonly AdapterKind[],
): Promise<AdapterStage> {
  const [pipeline, pattern] = args.positionals;
  if (pipeline === undefined) {
    throw new UsageError("Missing arguments: give PIPELINE, or --adapter");
  }
  const { graph, selected, store, settings } = await openRun(args, {
    patterns: pattern === undefined ? [] : [pattern],
  });
  const stage = chooseAdapter(graph, kinds, pattern, selected);
  const open = async (
    others: StageInputs = {},
    /** Stage that needs all of them. */
    last = stage,
  ): Promise<OpenInputs> => {
    const wanted = Object.entries({ adapter: stage, ...others })
      .flatMap(([name, it]) => it ? [[name, it.id] as const] : []);
    const ids = wanted.map(([, id]) => id);
    const results = await openResults(graph, last.id, ids, settings, store);
    const folders = wanted.map(([name, id]) => [name, results.of(id)]);
    return { ...results, inputs: Object.fromEntries(folders) };
  };
  return {
    graph,
    stage,
    model: modelOf(stage, graph),
    open: (others) => open(others),
    async openReported(others, isRequired = false) {
      const report = reportOn(stage, graph);
      if (report === undefined) return await open(others);
      return await open({ ...others, report }, report).catch((error) => {
        if (isRequired || !(error instanceof NoResultError)) throw error;
        return open(others);
      });
    },
  };
}

type AdapterKind = "adapter" | "peft";

/**
 * Chooses the stage that makes an adapter.
 *
 * @param selected Ids of the stages that the pattern names, if there is one.
 * @throws {UsageError} As {@linkcode adapterStage}.
 */
function chooseAdapter(
  graph: Graph,
  kinds: readonly AdapterKind[],
  pattern: string | undefined,
  selected: readonly string[],
): GraphStage {
  const all = [...graph.stages.values()].filter(({ declaration }) =>
    kinds.some((kind) => kind === declaration.output.kind)
  );
  const trained = all.filter(({ declaration }) =>
    declaration.output.kind === "adapter"
  );
  const candidates = trained.length > 0 ? trained : all;
  const isSource = (id: string) =>
    candidates.some(({ inputs }) => Object.values(inputs).flat().includes(id));
  const [stage, other] = pattern === undefined
    ? candidates.filter(({ id }) => !isSource(id)).slice(0, 1)
    : all.filter(({ id }) => selected.includes(id));
  if (stage === undefined) {
    const verb = kinds.includes("adapter") ? "makes" : "exports";
    const hint = all[0] ? `; name one that does, such as "${all[0].id}"` : "";
    const selecting = `"${pattern ?? graph.pipeline}" selects no stage`;
    throw new UsageError(`${selecting} that ${verb} an adapter${hint}`);
  }
  if (other !== undefined) {
    throw new UsageError(
      `"${pattern}" selects more than one adapter: "${stage.id}", "${other.id}"; name one of them`,
    );
  }
  return stage;
}

/**
 * The only report on an adapter, or that of several which the pipeline shows;
 * undefined if there is none, or more than one.
 */
function reportOn(
  { id }: GraphStage,
  { stages, show }: Graph,
): GraphStage | undefined {
  const reports = [...stages.values()].filter((it) =>
    it.declaration.output.kind === "report" &&
    Object.values(it.inputs).flat().includes(id)
  );
  const shown = reports.filter((report) =>
    show.some(({ stage }) => stage === report.id)
  );
  const [report, ...more] = shown.length === 1 ? shown : reports;
  return more.length > 0 ? undefined : report;
}

/**
 * The rank that a report recommends for the adapter of a stage; undefined if it
 * says that nothing was learnt, or recommends several ranks, or one that was
 * trained by another stage.
 *
 * @param report Folder of the report
 * @param adapter Folder of the adapter
 */
export async function recommendedFor(
  stage: string,
  report: string,
  adapter: string,
): Promise<number | undefined> {
  const { readRecord, servedRanks } = await import(
    "../../artifacts/training.ts"
  );
  const text = Deno.readTextFileSync(join(report, "report.json"));
  const { comparisons }: Report = JSON.parse(text);
  const ranks = comparisons
    .filter(({ verdict }) => verdict?.kind !== "nothing-learnt")
    .flatMap(({ methods }) => methods)
    .filter(({ trainings }) => trainings.some((it) => it.stage === stage))
    .flatMap(({ recommendation }) => recommendation?.rank ?? []);
  const [rank, ...others] = new Set(ranks);
  if (rank === undefined || others.length > 0) return undefined;
  const served = servedRanks(await readRecord(adapter));
  return served.includes(rank) ? rank : undefined;
}

/**
 * The configuration of the adapter in a folder, which exists.
 *
 * @throws {UsageError} Naming the file, if it is invalid.
 */
export async function adapterConfig(folder: string) {
  const { readJsonFile } = await import("../../artifacts/json_file.ts");
  const { BaseModelConfig } = await import("../../peft/config.ts");
  const path = join(folder, "adapter_config.json");
  return await readJsonFile(path, BaseModelConfig).catch((error) => {
    if (!(error instanceof SyntaxError)) throw error;
    const message = `${error.message}\nSave the adapter again`;
    throw new UsageError(message, { cause: error });
  });
}

function modelOf({ inputs }: GraphStage, graph: Graph): GraphStage | undefined {
  const [model] = inputs.model ?? [];
  const [adapter] = inputs.adapter ?? [];
  if (model !== undefined) return graph.stages.get(model);
  return adapter ? modelOf(graph.stages.get(adapter)!, graph) : undefined;
}

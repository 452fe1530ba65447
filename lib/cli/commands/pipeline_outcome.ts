/** Exit code, report pages and last lines of a run. */
import type { DatasetInfo } from "../../artifacts/dataset.ts";
import type { HeadName } from "../../engine/models/model.ts";
import type { ProblemFields } from "../../problems/problem.ts";
import type { Graph, GraphStage } from "../../pipeline/graph.ts";
import type { Comparison, Report } from "../../report/report.ts";
import type { Event, Summary } from "../../scheduler/events.ts";
import { visibleFolder } from "../../scheduler/visible.ts";
import { readIfThere, statIfThere } from "../../files/files.ts";
import { join } from "../../files/paths.ts";
import { fingerprint } from "../../files/fingerprints.ts";
import type { Store } from "../../store/store.ts";
import { type Arguments, EXIT } from "../arguments/arguments.ts";
import {
  commandLine,
  ENGINE_OPTIONS,
  outOf,
  shortPath,
  stageCommand,
} from "../arguments/options.ts";
import type { UpToDate } from "../pages/report_page.ts";
import { type Answer, listed, type Message } from "../terminal/messages.ts";
import { adapterConfig } from "./stage_result.ts";

/**
 * Collects from the events of a run what its last lines and its exit code
 * depend on.
 */
export class RunOutcome {
  summary: Summary | undefined;
  /** Stages with new or restored results. */
  readonly changed = new Set<string>();
  readonly upToDate = new Map<string, UpToDate>();
  readonly #decided = new Map<string, Omit<UpToDate, "outcome">>();
  /** Keys of the visible results before the run, by stage. */
  readonly #before = new Map<string, string>();
  #otherFailure = false;

  constructor(readonly pipeline: string, readonly store: Store) {}

  add(event: Event): void {
    if (event.type === "summary") this.summary = event;
    if (event.type === "decided") this.#takeDecision(event);
    if (event.type === "finished" && event.outcome !== "skipped") {
      const { stage, outcome } = event;
      this.upToDate.set(stage, { outcome, ...this.#decided.get(stage)! });
      if (outcome !== "unchanged") this.changed.add(stage);
    }
    if (event.type === "failed" && !event.retry) {
      this.#otherFailure ||= event.code !== "output-missing";
    }
  }

  #takeDecision({ stage, decision }: Event & { type: "decided" }): void {
    if (!("key" in decision)) return;
    this.#decided.set(stage, decision);
    if (decision.state === "unchanged" || this.#before.has(stage)) return;
    const [before] = this.store.histories.read(this.pipeline, stage).keys;
    if (before !== undefined) this.#before.set(stage, before);
  }

  /**
   * Names the results of other parameters or sources that this run has
   * replaced; undefined if there are none.
   */
  async replacedText(): Promise<string | undefined> {
    const replaced = [...this.#before].filter(([stage, before]) =>
      this.changed.has(stage) && before !== this.#decided.get(stage)!.key
    );
    if (replaced.length === 0) return undefined;
    const { changes, describeChanges } = await import(
      "../../scheduler/changes.ts"
    );
    const causes: string[] = [];
    for (const [stage, before] of replaced) {
      const { manifests } = this.store;
      const old = manifests.find(before);
      const now = manifests.find(this.#decided.get(stage)!.key);
      if (old === undefined || now === undefined) continue;
      const differences = (await changes(old.parts, now.parts, this.store))
        .filter(({ kind }) => kind === "param" || kind === "source");
      if (differences.length === 0) continue;
      causes.push(`${stage}: ${describeChanges(differences)}`);
    }
    const [cause] = causes;
    if (cause === undefined) return undefined;
    const names = listed(replaced.map(([stage]) => stage), 3);
    const more = causes.length > 1 ? ", ..." : "";
    return `Replaced results of other parameters or sources (${cause}${more}): ${names}; they stay in the cache, and --name NAME keeps both visible`;
  }

  get code(): number {
    if (!this.summary?.failed) return EXIT.success;
    return this.#otherFailure ? EXIT.failed : EXIT.outputMissing;
  }
}

/** Shows the files in `show` of the pipeline whose stages have new results. */
export function showFiles(
  graph: Graph,
  changed: ReadonlySet<string>,
  out: string,
  say: (message: Message) => void,
): void {
  for (const { stage, file } of graph.show) {
    if (!changed.has(stage)) continue;
    const path = join(visibleFolder(out, graph.pipeline, stage), file);
    const text = readIfThere(path);
    const fault =
      `Cannot show "${file}" of stage "${stage}": "${path}" does not exist; correct "show" in the pipeline file`;
    say(
      text === undefined
        ? { type: "note", text: fault }
        : { type: "shown", stage, path: shortPath(path), text },
    );
  }
}

/**
 * Writes the pages of the reports that the run brought up to date, unless it
 * had nothing to do: `out/PIPELINE/STAGE.html`.
 *
 * @returns Paths of all of them, new or not, by the id of the stage.
 */
export async function updatePages(
  args: Arguments,
  { changed, upToDate }: RunOutcome,
  graph: Graph,
  store: Store,
  emit: (event: Event) => void,
): Promise<Map<string, string>> {
  const out = outOf(args);
  const pages = new Map<string, string>();
  let isStale = changed.size > 0;
  for (const { id, declaration } of graph.stages.values()) {
    if (declaration.output.kind !== "report" || !upToDate.has(id)) continue;
    const folder = visibleFolder(out, graph.pipeline, id);
    const page = `${folder}.html`;
    const source = fingerprint(join(folder, "report.html"));
    if (source === undefined) continue;
    pages.set(id, page);
    // A run that was killed may have left an older page.
    const written = fingerprint(page);
    isStale ||= written === undefined || written.modified < source.modified;
  }
  if (isStale && pages.size > 0) {
    const { writePages } = await import("../pages/report_page.ts");
    await writePages(args, pages, upToDate, graph, store, emit);
  }
  return pages;
}

/**
 * Collects the last lines of a run from the results of its stages: its reports,
 * and its exported adapters or else its trained ones.
 *
 * @param current Ids of the stages of the run.
 * @param pages Paths of the pages of reports, by the id of the stage.
 * @returns Undefined if there is no report and no adapter.
 */
export async function answerOf(
  graph: Graph,
  current: ReadonlySet<string>,
  pages: ReadonlyMap<string, string>,
  out: string,
  args: Arguments,
): Promise<Answer | undefined> {
  const stages = [...graph.stages.values()].filter(({ id }) => current.has(id));
  const ofKind = (kind: string, file: string) =>
    stages.filter(({ declaration: { output } }) =>
      output.kind === kind && output.files.includes(file)
    );
  const folderOf = ({ id }: GraphStage) =>
    visibleFolder(out, graph.pipeline, id);
  const exported = ofKind("peft", "classes.json");
  // The report by which the adapter to take was exported.
  const [deciding] = exported[0]?.inputs.report ?? [];
  const reports = ofKind("report", "report.json")
    .map((stage) => ({
      stage,
      content: readJson<Report>(join(folderOf(stage), "report.json")),
      isDeciding: stage.id === deciding,
    }))
    .sort((a, b) => Number(b.isDeciding) - Number(a.isDeciding));
  const isAside = (it: { readonly isDeciding: boolean }) =>
    deciding !== undefined && !it.isDeciding;
  const comparisonsOf = (some: typeof reports) =>
    some.flatMap(({ content }) => content.comparisons);
  const asides = comparisonsOf(reports.filter(isAside));
  const judged = comparisonsOf(reports.filter((it) => !isAside(it)))
    .map((comparison) => ({
      comparison,
      overruling: overrulingOf(comparison, asides),
    }));
  const trainings = ofKind("adapter", "training.json");
  const adapters = exported.length > 0 ? exported : trainings;
  if (reports.length + adapters.length === 0) return undefined;
  const isUsable = judged.every(({ comparison }) => !comparison.verdict) ||
    judged.some(({ comparison: { verdict }, overruling }) =>
      verdict !== null && overruling === undefined &&
      (verdict.kind !== "nothing-learnt" || verdict.reference?.kind === "head")
    );
  const [best] = exported;
  const [source] = best?.inputs.adapter ?? [];
  const trained = source ? graph.stages.get(source) : trainings[0];
  // The page of `try` needs an adapter that can be exported for every rank.
  const canTry = (trained?.params.adapter ?? "lora") === "lora";
  const [model] = best?.inputs.model ?? [];
  const base = model && folderOf(graph.stages.get(model)!);
  const [first] = adapters;
  return {
    type: "answer",
    findings: await findingsOf(judged, asides),
    faults: [
      ...new Set(reports.flatMap(({ content }) => content.faults ?? [])),
    ],
    reports: reports.map(({ stage }) =>
      shortPath(pages.get(stage.id) ?? folderOf(stage))
    ),
    adapters: adapters.map((stage) => shortPath(folderOf(stage))),
    ...(first !== undefined && isUsable && {
      predict: await predictCommand(first, base, graph, out, args),
    }),
    ...(isUsable && canTry && trained && {
      try: stageCommand("try", args, trained.id),
    }),
    python: best && isUsable ? await pythonLines(folderOf(best), base) : [],
  };
}

/**
 * The command that classifies a text with an adapter, or finds the nearest
 * ones.
 *
 * @param base Folder of the model of an exported adapter.
 */
async function predictCommand(
  adapter: GraphStage,
  base: string | undefined,
  graph: Graph,
  out: string,
  args: Arguments,
): Promise<string> {
  const folder = visibleFolder(out, graph.pipeline, adapter.id);
  const command = base === undefined
    ? stageCommand("predict", args, adapter.id)
    : commandLine(args, [
      "predict",
      "--adapter",
      shortPath(folder),
      "--model",
      shortPath(base),
    ], ENGINE_OPTIONS);
  const data = dataOf(adapter, graph);
  if (data === undefined) return `${command} "your text"`;
  const { problemOf } = await import("../../problems/registry.ts");
  const info = datasetInfo(visibleFolder(out, graph.pipeline, data.id));
  if (problemOf(info).head === "embedding") {
    return `${command} --nearest FILE "your query"`;
  }
  return info.columns.length > 1
    ? `${command} --pair '|' "your text|its pair"`
    : `${command} "your text"`;
}

/** Lines of Python that load an exported adapter. */
async function pythonLines(
  folder: string,
  base: string | undefined,
): Promise<string[]> {
  const { pythonCode } = await import("../../peft/python.ts");
  const { problemOf } = await import("../../problems/registry.ts");
  const problem = readJson<ProblemFields>(join(folder, "classes.json"));
  const hasOtherClasses = problemOf(problem).head !== "language";
  return pythonCode(folder, { ...problem, base, hasOtherClasses }).split("\n");
}

/**
 * A comparison of the report that decides, and another one that overrules it.
 */
interface Judged {
  readonly comparison: Comparison;
  readonly overruling: Comparison | undefined;
}

/**
 * Of other reports, the comparison on the same examples by which nothing was
 * learnt: a rank by the loss is of no use if its texts are copies of prompts.
 */
function overrulingOf(
  { task, split, epoch, verdict }: Comparison,
  others: readonly Comparison[],
): Comparison | undefined {
  if (verdict === null || verdict.kind === "nothing-learnt") return undefined;
  return others.find((it) =>
    it.task === task && it.split === split && it.epoch === epoch &&
    it.verdict?.kind === "nothing-learnt" &&
    it.verdict.reference?.kind === "constant"
  );
}

/**
 * The verdicts of the deciding report, then those of others that overrule none.
 */
async function findingsOf(
  judged: readonly Judged[],
  asides: readonly Comparison[],
): Promise<Answer["findings"]> {
  const { metricInWords } = await import("../../report/format.ts");
  const all = [...judged.map(({ comparison }) => comparison), ...asides];
  const overruling = judged.map((it) => it.overruling);
  const findings = judged.flatMap(({ comparison, overruling }) => {
    const { verdict, metrics } = comparison;
    if (verdict === null) return [];
    const title = titleAmong(comparison, all);
    const { kind, headline, reasons, recommended: { rank } } = verdict;
    if (overruling === undefined) {
      const isLearnt = kind !== "nothing-learnt";
      return [{ title, headline, reasons, ...isLearnt && { rank } }];
    }
    const overruled = `By the ${
      metricInWords(metrics[0]!)
    } alone, the rank is ${rank}, which the exported adapter has.`;
    return [{
      title,
      headline: overruling.verdict!.headline,
      reasons: [...overruling.verdict!.reasons, overruled],
    }];
  });
  const others = asides.flatMap((comparison) => {
    const { verdict } = comparison;
    if (verdict === null || overruling.includes(comparison)) return [];
    const { headline, reasons } = verdict;
    const title = titleAmong(comparison, all);
    return [{ title, headline, reasons, isAside: true }];
  });
  return [...findings, ...others];
}

/** The title of a comparison, with its split and epoch where others differ. */
function titleAmong(
  { title, split, epoch }: Comparison,
  all: readonly Comparison[],
): string {
  const others = all.filter((it) => it.title === title);
  const more = [
    ...(others.some((it) => it.split !== split) ? [split] : []),
    ...(others.some((it) => it.epoch !== epoch) ? [`${epoch} epoch`] : []),
  ];
  return [title, ...more].join(", ");
}

/**
 * The stage of the data that an adapter was trained on, the nearest data set
 * upstream; undefined if there is none.
 */
export function dataOf(
  stage: GraphStage,
  graph: Graph,
): GraphStage | undefined {
  const upstream = [stage];
  for (const { inputs } of upstream) {
    for (const id of Object.values(inputs).flat()) {
      const input = graph.stages.get(id)!;
      const { kind, files } = input.declaration.output;
      if (kind === "dataset" && files.includes("dataset.json")) return input;
      // A report may be on other data as well.
      if (kind !== "report") upstream.push(input);
    }
  }
  return undefined;
}

/** What a data set is, by its folder. */
export function datasetInfo(folder: string): DatasetInfo {
  return readJson<DatasetInfo>(join(folder, "dataset.json"));
}

function readJson<T>(path: string): T {
  return JSON.parse(Deno.readTextFileSync(path));
}

/**
 * The problem of an adapter, as a stage makes or exports it; undefined for one
 * that another program has written.
 */
export async function adapterProblem(
  folder: string,
): Promise<ProblemFields | undefined> {
  if (statIfThere(join(folder, "training.json"))) {
    const { readRecord } = await import("../../artifacts/training.ts");
    return await readRecord(folder);
  }
  const { findClasses } = await import("../../artifacts/classes.ts");
  return await findClasses(folder);
}

/**
 * The head of an adapter, as a stage makes it or PEFT has it: "language" if it
 * writes texts, "embedding" if it embeds them. Undefined if the folder has no
 * configuration, or its task is none of ours.
 */
export async function headOf(folder: string): Promise<HeadName | undefined> {
  if (!statIfThere(join(folder, "adapter_config.json"))) return undefined;
  const { headOfTask, PEFT_TASKS } = await import("../../problems/registry.ts");
  const { task_type } = await adapterConfig(folder);
  const task = PEFT_TASKS.find((it) => it === task_type);
  return task === undefined ? undefined : headOfTask(task);
}

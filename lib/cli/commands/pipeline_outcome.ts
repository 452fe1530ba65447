/** Exit code, report pages and last lines of a run. */
import type { DatasetInfo } from "../../artifacts/dataset.ts";
import type { ProblemFields } from "../../problems/registry.ts";
import type { Graph, GraphStage } from "../../pipeline/graph.ts";
import type { Report } from "../../report/report.ts";
import type { Event, Summary } from "../../scheduler/events.ts";
import { visibleFolder } from "../../scheduler/visible.ts";
import { readIfThere } from "../../files/files.ts";
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

/** Collects from the events of a run what its last lines and its exit code depend on. */
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

  /** Names the results of other parameters or sources that this run has replaced; undefined if there are none. */
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
      const found = (await changes(old.parts, now.parts, this.store))
        .filter(({ kind }) => kind === "param" || kind === "source");
      if (found.length > 0) causes.push(`${stage}: ${describeChanges(found)}`);
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
  const pathOf = (stage: GraphStage, ...file: string[]) =>
    join(visibleFolder(out, graph.pipeline, stage.id), ...file);
  const reports = ofKind("report", "report.json");
  const exported = ofKind("peft", "classes.json");
  // First the report by which the adapter to take was exported.
  const [deciding] = exported[0]?.inputs.report ?? [];
  const isDeciding = ({ id }: GraphStage) => id === deciding;
  reports.sort((a, b) => Number(isDeciding(b)) - Number(isDeciding(a)));
  const found = reports.map((stage) =>
    readJson<Report>(pathOf(stage, "report.json"))
  );
  const comparisons = found.flatMap(({ comparisons }) => comparisons);
  const trainings = ofKind("adapter", "training.json");
  const adapters = exported.length > 0 ? exported : trainings;
  if (reports.length + adapters.length === 0) return undefined;
  const { pythonCode } = await import("../../peft/python.ts");
  const { problemOf } = await import("../../problems/registry.ts");
  const [first] = adapters;
  const [best] = exported;
  const [source] = best?.inputs.adapter ?? [];
  const trained = source ? graph.stages.get(source) : trainings[0];
  const [model] = best?.inputs.model ?? [];
  const base = model && pathOf(graph.stages.get(model)!);
  const data = first && dataOf(first, graph);
  const texts =
    data !== undefined && datasetInfo(pathOf(data)).columns.length > 1
      ? `--pair '|' "your text|its pair"`
      : '"your text"';
  const verdicts = comparisons.flatMap(({ verdict }) => verdict ?? []);
  const isUsable = verdicts.length === 0 ||
    verdicts.some(({ kind, reference }) =>
      kind !== "nothing-learnt" || reference?.kind === "head"
    );
  const solved = best && isUsable &&
    readJson<ProblemFields>(pathOf(best, "classes.json"));
  return {
    type: "answer",
    findings: reports.flatMap((stage, i) => {
      const findings = findingsOf(found[i]!.comparisons);
      const isAside = deciding !== undefined && !isDeciding(stage);
      return isAside ? findings.map((it) => ({ ...it, isAside })) : findings;
    }),
    faults: [...new Set(found.flatMap(({ faults }) => faults ?? []))],
    reports: reports.map((stage) =>
      shortPath(pages.get(stage.id) ?? pathOf(stage))
    ),
    adapters: adapters.map((stage) => shortPath(pathOf(stage))),
    ...(first !== undefined && isUsable && {
      predict: (base === undefined
        ? stageCommand("predict", args, first.id)
        : commandLine(args, [
          "predict",
          "--adapter",
          shortPath(pathOf(first)),
          "--model",
          shortPath(base),
        ], ENGINE_OPTIONS)) + ` ${texts}`,
    }),
    // The page of `try` needs an adapter that can be exported for every rank.
    ...(isUsable && (trained?.params.adapter ?? "lora") === "lora" &&
      trained && { try: stageCommand("try", args, trained.id) }),
    python: solved
      ? pythonCode(pathOf(best!), {
        ...solved,
        base,
        hasOtherClasses: problemOf(solved).head !== "language",
      }).split("\n")
      : [],
  };
}

function findingsOf(comparisons: Report["comparisons"]): Answer["findings"] {
  return comparisons.flatMap(({ title, split, epoch, verdict }) => {
    if (verdict === null) return [];
    const others = comparisons.filter((it) => it.title === title);
    const more = [
      ...(others.some((it) => it.split !== split) ? [split] : []),
      ...(others.some((it) => it.epoch !== epoch) ? [`${epoch} epoch`] : []),
    ];
    const { kind, headline, reasons, recommended } = verdict;
    return [{
      title: [title, ...more].join(", "),
      headline,
      reasons,
      ...(kind !== "nothing-learnt" && { rank: recommended.rank }),
    }];
  });
}

/** The stage of the data that an adapter was trained on, the nearest data set upstream; undefined if there is none. */
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

/** True if an adapter, as a stage makes it or PEFT has it, writes texts. */
export async function writesTexts(folder: string): Promise<boolean> {
  const { language } = await import("../../problems/language.ts");
  const training = readIfThere(join(folder, "training.json"));
  return training === undefined
    ? (await adapterConfig(folder)).task_type === language.peftTask
    : JSON.parse(training).problem === language.name;
}

/** The state of a pipeline that `dash` shows, read from the files of its runs, whichever process started them. */
import { stringify } from "@std/yaml";
import {
  type Graph,
  type GraphStage,
  groupStages,
} from "../../pipeline/graph.ts";
import type { ScoresFile } from "../../artifacts/scores.ts";
import { Lines, type LogLine } from "../../scheduler/journal.ts";
import type { StageStatus } from "../../scheduler/plan.ts";
import { usageOf } from "../../scheduler/executors/processes.ts";
import type { LiveRun } from "../../scheduler/runs.ts";
import { visibleFolder } from "../../scheduler/visible.ts";
import { statIfThere } from "../../store/files.ts";
import { dirname } from "../../store/paths.ts";
import type { Manifest } from "../../store/manifests.ts";
import { fingerprint } from "../../store/stats.ts";
import type { Store } from "../../store/store.ts";
import { Pace } from "../terminal/estimate.ts";
import {
  about,
  bytes,
  duration,
  eventText,
  progressText,
} from "../terminal/messages.ts";
import { cellContent, stageGraph } from "./stage_graph.ts";

/** State of a stage, for the page. */
export interface StageState {
  readonly id: string;
  readonly state: "done" | "running" | "failed" | "waiting";
  /** Why it waits or has failed. */
  readonly reason?: string;
  /** While it runs: `12.3 s, 45 s left, 20.1 s of processor, 812 MB`, `128/8192 steps, loss 0.41`, and the fraction that is done. */
  readonly running?: {
    readonly time: string;
    readonly text?: string;
    readonly share?: number;
  };
}

/** A metric by rank, with a column for each group of evaluations. */
export interface RankTable {
  /** Name of the data set. */
  readonly task: string;
  readonly metric: string;
  readonly columns: readonly {
    readonly title: string;
    /** Number of evaluations that are done, of `total`. */
    readonly done: number;
    readonly total: number;
    /** Mean over the evaluations, by rank. */
    readonly scores: Readonly<Record<number, number>>;
  }[];
}

/** What the page shows. */
export interface DashState {
  /** Its name; empty until it has been read. */
  readonly pipeline: string;
  readonly stages: readonly StageState[];
  /** The stages and what each needs, as SVG. */
  readonly graph: string;
  readonly tables: readonly RankTable[];
  /** Reports that are up to date. */
  readonly reports: readonly {
    readonly stage: string;
    /** Changes with the content. */
    readonly version: string;
  }[];
  /** Why the last read failed, such as an error in the pipeline file. */
  readonly problem?: string;
}

/** How the state of a pipeline is read; a test replaces it. */
interface Sources {
  readonly store: Store;
  /** Folder of all output. */
  readonly out: string;
  /** Reads the pipeline, and the state of its stages. */
  read(): Promise<{ graph: Graph; status: readonly StageStatus[] }>;
}

/** Minimum and maximum milliseconds between two reads of the state of all stages. A read plans the pipeline. */
const [MIN_AGE, MAX_AGE] = [1_000, 5_000];

/** A stage, what is known about it, and its result if that is up to date. */
interface ReadStage {
  readonly stage: GraphStage;
  readonly status: StageStatus;
  readonly result: Manifest | undefined;
}

/** What the last read has found. */
interface Found {
  readonly graph: Graph;
  readonly stages: ReadonlyMap<string, ReadStage>;
  readonly tables: readonly RankTable[];
  /** The page of each report that is up to date; its version changes with the content. */
  readonly pages: ReadonlyMap<string, { path: string; version: string }>;
}

/** Follows the runs of a pipeline. */
export class Follower {
  #found: Found | undefined;
  #problem: string | undefined;
  #seen = "";
  #at = -Infinity;
  #reading: Promise<void> | undefined;
  readonly #logs = new Map<string, StageLog>();

  /** @param now The clock: milliseconds since 1970. */
  constructor(
    readonly sources: Sources,
    readonly now: () => number = Date.now,
  ) {}

  /** The state now. */
  async state(): Promise<DashState> {
    await (this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    }));
    const problem = this.#problem !== undefined &&
      { problem: this.#problem };
    if (this.#found === undefined) {
      const nothing = { stages: [], graph: "", tables: [], reports: [] };
      return { pipeline: "", ...nothing, ...problem };
    }
    const { graph, stages, tables, pages } = this.#found;
    const states = new Map(
      [...stages].map(([id, it]) => [id, this.#stageState(it)]),
    );
    return {
      pipeline: graph.pipeline,
      stages: [...states.values()],
      graph: stageGraph(
        groupStages([...stages.values()].map(({ stage }) => stage)),
        ({ stages }) => cellContent(stages.map((id) => states.get(id)!)),
      ),
      tables,
      reports: [...pages].map(([stage, { version }]) => ({ stage, version })),
      ...problem,
    };
  }

  /** Points `[step, value]` of a metric of a stage. */
  series(
    stage: string,
    name: string,
  ): readonly (readonly [step: number, value: number])[] {
    return this.#log(stage)?.series.get(name) ?? [];
  }

  /** The last lines of the log of a stage. */
  lines(stage: string): readonly string[] {
    return this.#log(stage)?.lines ?? [];
  }

  /** The page of a report that is up to date; undefined if there is none. */
  report(stage: string): Uint8Array<ArrayBuffer> | undefined {
    const page = this.#found?.pages.get(stage);
    return page && Deno.readFileSync(page.path);
  }

  async #read(): Promise<void> {
    const { store } = this.sources;
    const age = this.now() - this.#at;
    if (age < MIN_AGE) return;
    const pipeline = this.#found?.graph.pipeline;
    const seen = [
      "runs",
      ...pipeline === undefined
        ? []
        : [`stages/${pipeline}`, `failures/${pipeline}`],
    ].map((path) => {
      const print = fingerprint(store.path(path));
      return `${print?.changed} ${print?.modified} ${print?.inode}`;
    }).join();
    if (seen === this.#seen && age < MAX_AGE) return;
    this.#at = this.now();
    try {
      const { graph, status } = await this.sources.read();
      const stages = new Map(status.map((status) => {
        const { stage: id, decision } = status;
        const isUpToDate = decision.state === "unchanged" ||
          decision.state === "restore";
        const result = isUpToDate
          ? store.manifests.find(decision.key)
          : undefined;
        return [id, { stage: graph.stages.get(id)!, status, result }];
      }));
      this.#found = {
        graph,
        stages,
        tables: await this.#tables(graph, stages),
        pages: new Map(
          [...stages].flatMap(([id, it]) => {
            const page = this.#page(graph, it);
            return page ? [[id, page]] : [];
          }),
        ),
      };
      this.#problem = undefined;
      this.#seen = seen;
    } catch (error) {
      // Shown on the page: the user may be editing the file.
      this.#problem = error instanceof Error ? error.message : String(error);
    }
  }

  /** The page of a report: beside the folder of the stage, with the facts of the run, if the run has written it, else as the stage made it. */
  #page({ pipeline }: Graph, { stage, status, result }: ReadStage) {
    if (stage.declaration.output.kind !== "report") return undefined;
    const file = result?.files.find(({ path }) => path === "report.html");
    if (file === undefined) return undefined;
    const { out, store } = this.sources;
    const made = { path: store.blobs.path(file.blob), version: file.blob };
    // What is visible may be the report of a run with other parameters.
    if (status.decision.state !== "unchanged") return made;
    const folder = visibleFolder(out, pipeline, stage);
    const [page, source] = [`${folder}.html`, `${folder}/report.html`]
      .map(fingerprint);
    return page !== undefined && page.modified >= (source?.modified ?? 0)
      ? { path: `${folder}.html`, version: `${page.changed}` }
      : made;
  }

  #stageState({ stage: { id }, status, result }: ReadStage): StageState {
    const { decision, live, failure } = status;
    const state = live !== undefined
      ? "running"
      : result !== undefined
      ? "done"
      : failure !== undefined && !failure.interrupted
      ? "failed"
      : "waiting";
    const reason = state === "failed"
      ? failure!.message
      : state === "waiting" && "reason" in decision
      ? decision.reason
      : undefined;
    return {
      id,
      state,
      ...(reason !== undefined && { reason }),
      ...(live && {
        running: this.#running(live, this.#log(id)?.pace),
      }),
    };
  }

  /** The task, the parameters and the resources of a stage, and what its result took, as YAML. */
  about(id: string): string {
    const { stage, result } = this.#found?.stages.get(id) ?? {};
    if (stage === undefined) return "";
    const { task, params, resources } = stage;
    const took = result && { started: result.started, seconds: result.seconds };
    return stringify({ task, with: params, resources, ...took });
  }

  #running({ started, log }: LiveRun, pace: Pace | undefined) {
    const passed = Math.max(0, this.now() - Date.parse(started));
    const time = duration(passed / 1000);
    const left = pace?.left(passed);
    const usage = usageOf(dirname(log));
    return {
      time: [
        time,
        ...left === undefined ? [] : [`${about(left)} left`],
        ...usage === undefined ? [] : [
          `${duration(usage.seconds)} of processor`,
          bytes(usage.memory),
        ],
      ].join(", "),
      ...(pace?.progress && pace.progress.total > 0 && {
        // Columns of the log become items.
        text: progressText(pace.progress).replaceAll(/ {2,}/g, ", "),
        share: pace.share,
      }),
    };
  }

  /** The log of the last run of a stage, read up to its present end. */
  #log(id: string): StageLog | undefined {
    const { status, result } = this.#found?.stages.get(id) ?? {};
    const path = status?.live?.log ??
      (result
        ? this.sources.store.blobs.path(result.log.blob)
        : status?.failure?.log);
    if (path === undefined) return undefined;
    const known = this.#logs.get(id);
    const log = known?.path === path
      ? known
      : new StageLog(path, status?.last?.seconds);
    this.#logs.set(id, log);
    log.read();
    return log;
  }

  async #tables(
    graph: Graph,
    stages: ReadonlyMap<string, ReadStage>,
  ): Promise<RankTable[]> {
    const groups = Map.groupBy(
      [...graph.stages.values()].filter(({ declaration }) =>
        declaration.output.kind === "scores"
      ),
      stageTitle,
    );
    const tables = new Map<string, RankTable>();
    for (const [title, members] of groups) {
      const texts = await Promise.all(members.map(async ({ id }) => {
        const file = stages.get(id)?.result?.files
          .find(({ path }) => path === "scores.json");
        return file && await this.sources.store.blobs.text(file.blob);
      }));
      const scores = texts.filter((it) => it !== undefined)
        .map((text): ScoresFile => JSON.parse(text));
      const [first] = scores;
      // The data set is unknown until the first result.
      if (first === undefined) continue;
      const { task, ranks } = first;
      const metric = Object.keys(ranks[0]!.metrics)[0]!;
      const defined = scores.flatMap(({ ranks }) => ranks)
        .map(({ rank, metrics }) => ({ rank, score: metrics[metric] }))
        .filter((it) => typeof it.score === "number");
      const byRank = Map.groupBy(defined, ({ rank }) => rank);
      const table = tables.get(task) ?? { task, metric, columns: [] };
      const column = {
        title,
        done: scores.length,
        total: members.length,
        scores: Object.fromEntries(
          [...byRank].map(([rank, of]) => [
            rank,
            of.reduce((sum, { score }) => sum + score!, 0) / of.length,
          ]),
        ),
      };
      tables.set(task, { ...table, columns: [...table.columns, column] });
    }
    return [...tables.values()];
  }
}

/** The id of a stage without its seed, over which scores are averaged, and its rank, which is a row. */
function stageTitle({ id }: GraphStage): string {
  const [name, values = ""] = id.split("@");
  const others = values.split(",")
    .filter((it) => it !== "" && !/^(seed|rank)=/.test(it));
  return others.length === 0 ? name! : `${name}@${others}`;
}

/** Maximum number of lines of a log that the page shows. */
const MAX_LINES = 500;

/** The log at a path, read incrementally while it is written. A later run may replace the file. */
export class StageLog {
  /** Points `[step, value]` of each metric. */
  readonly series = new Map<string, [number, number][]>();
  readonly lines: string[] = [];
  /** Of the last attempt. Its times are since the start of the log. */
  pace: Pace | undefined;
  /** Identifies the file that was read. */
  file = "";
  #size = 0;
  #added: Lines;

  /** @param expected Seconds that an earlier run took. */
  constructor(readonly path: string, readonly expected?: number) {
    this.#added = new Lines(path);
  }

  /** Reads what has been added, unless the run has ended and its log was moved. */
  read(): void {
    const info = statIfThere(this.path);
    if (info === undefined) return;
    // A new file may get the inode of one that was removed.
    const file = `${info.ino} ${info.birthtime?.getTime()}`;
    if (file !== this.file || info.size < this.#size) {
      this.series.clear();
      this.lines.length = 0;
      this.pace = undefined;
      this.#added = new Lines(this.path);
    }
    if (file === this.file && info.size === this.#size) return;
    this.file = file;
    this.#size = info.size;
    for (const line of this.#added.read()) this.#take(JSON.parse(line));
    this.lines.splice(0, Math.max(0, this.lines.length - MAX_LINES));
  }

  #take({ at, ...event }: LogLine): void {
    const now = 1000 * at;
    if (event.type === "started") this.pace = new Pace(now, this.expected);
    if (event.type === "progress") {
      this.pace?.take(event, now);
    } else if (event.type === "metric" && event.step !== undefined) {
      const { name, value, step } = event;
      const points = this.series.get(name) ?? [];
      points.push([step, value]);
      this.series.set(name, points);
      // A log has fewer reports of progress than metrics.
      const progress = this.pace?.progress;
      if (progress?.unit !== "steps" || step <= progress.done) return;
      const note = `${name} ${value.toPrecision(4)}`;
      this.pace!.take({ ...progress, done: step, note }, now);
    } else {
      const text = eventText(event);
      if (text !== undefined) this.lines.push(text);
    }
  }
}

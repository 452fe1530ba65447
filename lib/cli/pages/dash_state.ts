/**
 * The state of a pipeline that `dash` shows, read from the files of its runs,
 * whichever process started them.
 */
import { stringify } from "@std/yaml";
import {
  type Graph,
  type GraphStage,
  groupStages,
} from "../../pipeline/graph.ts";
import { SCORES_FILES, type ScoresFile } from "../../artifacts/scores.ts";
import { Lines, type LogLine } from "../../scheduler/journal.ts";
import type { Expectation } from "../../scheduler/events.ts";
import { expectation } from "../../scheduler/limits.ts";
import type { StageStatus } from "../../scheduler/plan.ts";
import { processesWith, procFile } from "../../scheduler/executors/local.ts";
import type { LiveRun } from "../../scheduler/runs.ts";
import type { Settings } from "../../scheduler/settings.ts";
import { visibleFolder } from "../../scheduler/visible.ts";
import { statIfThere } from "../../files/files.ts";
import { dirname } from "../../files/paths.ts";
import type { Manifest } from "../../store/manifests.ts";
import { fingerprint } from "../../files/fingerprints.ts";
import type { Store } from "../../store/store.ts";
import { leftText } from "../terminal/estimate.ts";
import { Forecast, Pace } from "../../scheduler/forecast.ts";
import {
  about,
  bytes,
  duration,
  eventText,
  progressText,
} from "../terminal/messages.ts";
import { cellContent, type DrawnStage, stageGraph } from "./stage_graph.ts";

/** State of a stage, for the page. */
export interface StageState extends DrawnStage {
  readonly running?: RunningState;
}

/** State of a stage while it runs. */
interface RunningState {
  /** Seconds left; undefined if unknown. */
  readonly left: number | undefined;
  /** `12.3 s, 45 s left, 20.1 s of processor, 812 MB` */
  readonly time: string;
  /** `128/8192 steps, loss 0.41`; absent before the first report. */
  readonly text?: string;
  /** The fraction that is done. */
  readonly share?: number;
}

/** A metric by rank, with a column for each group of evaluations. */
export interface RankTable {
  /** Task of the data set: `mrpc`. */
  readonly task: string;
  /** Name of the metric. */
  readonly metric: string;
  readonly columns: readonly RankColumn[];
}

/** The evaluations whose stages differ in seed and rank only. */
interface RankColumn {
  readonly title: string;
  /** Number of evaluations that are done, and of all. */
  readonly done: number;
  readonly total: number;
  /** Mean over the evaluations, by rank. */
  readonly scores: Readonly<Record<string, number>>;
}

/** The state of a pipeline. */
export interface PipelineState {
  /** Its name; empty until it has been read. */
  readonly pipeline: string;
  readonly stages: readonly StageState[];
  /**
   * Time left of the stages that run and wait: `2 min left`; undefined if none
   * runs.
   */
  readonly left: string | undefined;
  /** The stages and what each needs, as SVG. */
  readonly graph: string;
  readonly tables: readonly RankTable[];
  /** Reports that are up to date; a version changes with the content. */
  readonly reports: readonly {
    readonly stage: string;
    readonly version: string;
  }[];
  /** Why the last read failed, such as an error in the pipeline file. */
  readonly problem: string | undefined;
}

/**
 * Milliseconds between two reads of the state of all stages, each of which
 * plans the pipeline.
 */
const PAUSE = 2_000;

interface ReadStage {
  readonly stage: GraphStage;
  readonly status: StageStatus;
  readonly result: Manifest | undefined;
}

/** Follows the runs of a pipeline. */
export class Follower {
  #pipeline = "";
  #expected: Expectation | undefined;
  #stages: ReadonlyMap<string, ReadStage> = new Map();
  #tables: readonly RankTable[] = [];
  #problem: string | undefined;
  #at = -Infinity;
  readonly #logs = new Map<string, StageLog>();

  /**
   * @param out Folder of all output.
   * @param read Reads the pipeline, and the state of its stages.
   */
  constructor(
    readonly store: Store,
    readonly out: string,
    readonly read: () => Promise<
      { graph: Graph; settings: Settings; status: readonly StageStatus[] }
    >,
  ) {}

  /** The state now. */
  async state(): Promise<PipelineState> {
    if (Date.now() - this.#at > PAUSE) await this.#read();
    const stages = [...this.#stages.values()];
    const states = new Map(
      stages.map((it) => [it.stage.id, this.#stageState(it)]),
    );
    return {
      pipeline: this.#pipeline,
      stages: [...states.values()],
      left: this.#left(states),
      graph: stageGraph(
        groupStages(stages.map(({ stage }) => stage)),
        ({ stages }) => cellContent(stages.map((id) => states.get(id)!)),
      ),
      tables: this.#tables,
      reports: stages.flatMap((it) => {
        const page = this.#page(it);
        return page ? [{ stage: it.stage.id, version: page.version }] : [];
      }),
      problem: this.#problem,
    };
  }

  /** The page of a report that is up to date; undefined if there is none. */
  report(stage: string): Uint8Array<ArrayBuffer> | undefined {
    const read = this.#stages.get(stage);
    const page = read && this.#page(read);
    return page && Deno.readFileSync(page.path);
  }

  /**
   * The task, the parameters and the resources of a stage, and what its result
   * took, as YAML.
   */
  about(id: string): string {
    const { stage, result } = this.#stages.get(id) ?? {};
    if (stage === undefined) return "";
    const { task, params, resources } = stage;
    const took = result && { started: result.started, seconds: result.seconds };
    return stringify({ task, with: params, resources, ...took });
  }

  /** The log of the last run of a stage, read up to its present end. */
  log(id: string): StageLog | undefined {
    const { status, result } = this.#stages.get(id) ?? {};
    const path = status?.live?.log ??
      (result
        ? this.store.blobs.path(result.log.blob)
        : status?.unfinished?.log);
    if (path === undefined) return undefined;
    const current = this.#logs.get(id);
    const log = current?.path === path
      ? current
      : new StageLog(path, status?.last?.seconds);
    this.#logs.set(id, log);
    log.read();
    return log;
  }

  async #read(): Promise<void> {
    this.#at = Date.now();
    try {
      const { graph, settings, status } = await this.read();
      this.#pipeline = graph.pipeline;
      const selected = new Set(graph.stages.keys());
      const run = { graph, settings, selected, runtimes: new Map() };
      this.#expected = expectation({ ...run, store: this.store });
      this.#stages = new Map(status.map((status) => {
        const { stage: id, decision } = status;
        const result = /^(unchanged|restore)$/.test(decision.state) &&
            "key" in decision
          ? this.store.manifests.find(decision.key)
          : undefined;
        return [id, { stage: graph.stages.get(id)!, status, result }];
      }));
      this.#tables = await rankTables([...this.#stages.values()], this.store);
      this.#problem = undefined;
    } catch (error) {
      // Shown on the page: the user may be editing the file.
      this.#problem = error instanceof Error ? error.message : String(error);
    }
  }

  /**
   * The page of a report: beside the folder of the stage, with the facts of the
   * run, if the run has written it, else as the stage made it.
   */
  #page({ stage, status, result }: ReadStage) {
    const file = result?.files.find(({ path }) => path === "report.html");
    const isReport = stage.declaration.output.kind === "report";
    if (file === undefined || !isReport) return undefined;
    const folder = visibleFolder(this.out, this.#pipeline, stage.id);
    const page = fingerprint(`${folder}.html`);
    const source = fingerprint(`${folder}/report.html`);
    // What is visible may be the report of a run with other parameters.
    const isOwn = status.decision.state === "unchanged" &&
      page !== undefined && page.modified >= (source?.modified ?? 0);
    return isOwn
      ? { path: `${folder}.html`, version: `${page.changed}` }
      : { path: this.store.blobs.path(file.blob), version: file.blob };
  }

  #stageState(
    { stage: { id }, status: { decision, live, unfinished }, result }:
      ReadStage,
  ): StageState {
    if (live !== undefined) {
      return {
        id,
        state: "running",
        running: runningState(live, this.log(id)?.pace),
      };
    }
    if (result !== undefined) return { id, state: "done" };
    if (unfinished?.state === "failed") {
      return { id, state: "failed", reason: unfinished.message };
    }
    const reason = "reason" in decision ? decision.reason : undefined;
    return { id, state: "waiting", reason };
  }

  #left(states: ReadonlyMap<string, StageState>): string | undefined {
    const forecast = new Forecast();
    if (this.#expected) forecast.expect(this.#expected);
    const running = new Map<string, number | undefined>();
    for (const { id, state, running: now } of states.values()) {
      if (now !== undefined) running.set(id, now.left);
      if (state !== "done") continue;
      forecast.end(id, this.#stages.get(id)!.result!.seconds);
    }
    const left = running.size > 0 ? forecast.left(running) : undefined;
    return left && leftText(left);
  }
}

/** Reads the time left, the usage and the progress of a stage that runs. */
function runningState(
  { started, log }: LiveRun,
  pace: Pace | undefined,
): RunningState {
  const passed = Math.max(0, Date.now() - Date.parse(started));
  const left = pace?.left(passed);
  const usage = usageOf(dirname(log));
  return {
    left,
    time: [
      duration(passed / 1000),
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

/** A table for each data set, as far as its evaluations are done. */
async function rankTables(
  stages: readonly ReadStage[],
  { blobs }: Store,
): Promise<RankTable[]> {
  const evaluations = stages
    .filter(({ stage }) => stage.declaration.output.kind === "scores")
    .map(({ stage, result }) => ({ title: stageTitle(stage), result }));
  const scores = await Promise.all(evaluations.map(async (it) => {
    const file = it.result?.files.find(({ path }) => path === SCORES_FILES[0]);
    const text = file && await blobs.text(file.blob);
    const scores: ScoresFile | undefined = text && JSON.parse(text);
    return scores ? [{ ...scores, title: it.title }] : [];
  }));
  return [...Map.groupBy(scores.flat(), ({ task }) => task)].map(
    ([task, all]) => {
      const [metric = ""] = Object.keys(all[0]!.ranks[0]?.metrics ?? {});
      const groups = [...Map.groupBy(all, ({ title }) => title)];
      const columns = groups.map(([title, members]) => {
        const byRank = Map.groupBy(
          members.flatMap(({ ranks }) => ranks)
            .filter(({ metrics }) => typeof metrics[metric] === "number"),
          ({ rank }) => rank,
        );
        return {
          title,
          done: members.length,
          total: evaluations.filter((it) => it.title === title).length,
          scores: Object.fromEntries([...byRank].map(([rank, of]) => [
            rank,
            of.reduce((sum, it) => sum + it.metrics[metric]!, 0) / of.length,
          ])),
        };
      });
      return { task, metric, columns };
    },
  );
}

/**
 * The id of a stage without its seed, over which scores are averaged, and its
 * rank, which is a row.
 */
function stageTitle({ id }: GraphStage): string {
  const [name, values = ""] = id.split("@");
  const others = values.split(",")
    .filter((it) => it !== "" && !/^(seed|rank)=/.test(it));
  return others.length === 0 ? name! : `${name}@${others}`;
}

/** The metric whose curve is drawn. */
const METRIC = "loss";

const MAX_LINES = 500;

/**
 * The log at a path, read incrementally while it is written. A later run may
 * replace the file.
 */
export class StageLog {
  /** Points `[step, value]` of {@linkcode METRIC}. */
  readonly points: [number, number][] = [];
  readonly lines: string[] = [];
  /** Of the last attempt. Its times are since the start of the log. */
  pace: Pace | undefined;
  #file = "";
  #size = 0;
  #added: Lines;

  /** @param expected Seconds that an earlier run took. */
  constructor(readonly path: string, readonly expected?: number) {
    this.#added = new Lines(path);
  }

  /**
   * Reads what has been added, unless the run has ended and its log was moved.
   */
  read(): void {
    const info = statIfThere(this.path);
    if (info === undefined) return;
    // A new file may get the inode of one that was removed.
    const file = `${info.ino} ${info.birthtime?.getTime()}`;
    if (file !== this.#file || info.size < this.#size) {
      this.points.length = 0;
      this.lines.length = 0;
      this.pace = undefined;
      this.#added = new Lines(this.path);
    }
    this.#file = file;
    this.#size = info.size;
    for (const line of this.#added.read()) this.#update(JSON.parse(line));
    this.lines.splice(0, Math.max(0, this.lines.length - MAX_LINES));
  }

  #update({ at, ...event }: LogLine): void {
    const now = 1000 * at;
    if (event.type === "started") this.pace = new Pace(now, this.expected);
    if (event.type === "progress") {
      this.pace?.update(event, now);
    } else if (event.type === "metric" && event.step !== undefined) {
      const { name, value, step } = event;
      if (name === METRIC) this.points.push([step, value]);
      // A log has fewer reports of progress than metrics.
      const progress = this.pace?.progress;
      if (progress?.unit !== "steps" || step <= progress.done) return;
      const note = `${name} ${value.toPrecision(4)}`;
      this.pace!.update({ ...progress, done: step, note }, now);
    } else {
      const text = eventText(event);
      if (text !== undefined) this.lines.push(text);
    }
  }
}

/**
 * Processor time and memory of the processes of a stage that runs on this
 * machine; undefined where they cannot be read, as outside Linux.
 *
 * @param folder Its run folder
 * @returns Seconds of all threads, and bytes of resident memory.
 */
function usageOf(
  folder: string,
): { readonly seconds: number; readonly memory: number } | undefined {
  const pids = processesWith(`STAGE_RUN=${folder}/`);
  if (pids.length === 0) return undefined;
  const sum = (of: (pid: number) => number) =>
    pids.reduce((total, pid) => total + of(pid), 0);
  return {
    // Of what follows the name, fields 11 and 12 are 1/100 s in user and
    // kernel.
    seconds: sum((pid) => {
      const fields = procFile(pid, "stat").split(") ").at(-1)!.split(" ");
      return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
    }),
    memory: sum((pid) =>
      1024 *
      Number(/^VmRSS:\s+(\d+)/m.exec(procFile(pid, "status"))?.[1] ?? 0)
    ),
  };
}

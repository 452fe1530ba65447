import type { InputDeclaration, Task } from "./task.ts";

/** A stage of a pipeline, expanded from its matrix, with every reference resolved. */
export interface GraphStage {
  /** `train-dylora@mrpc,seed=0`: the stage's name and its matrix values, text bare and numbers with their dimension. */
  readonly id: string;
  /** Name in the pipeline file: `train-dylora`. */
  readonly name: string;
  readonly matrix: Readonly<Record<string, string | number>>;
  /** Name of the task: `train-dylora`. */
  readonly task: string;
  /** `file:` URL of the task's module. */
  readonly module: string;
  readonly declaration: Declaration;
  /** Parameters, validated, with defaults filled in. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Ids of the stages connected to each input, in the order of the matrix. */
  readonly inputs: Readonly<Record<string, readonly string[]>>;
  readonly resources: Resources;
  /** Stages with the same mutex never run at the same time. */
  readonly mutex?: string | undefined;
  /** How often a failed run is tried again. */
  readonly retries: number;
  /** Seconds after which a run is stopped. */
  readonly timeout?: number | undefined;
  /** Where the stage stands in its file. */
  readonly position: Position;
}

export interface Resources {
  readonly cpus: number;
  /** Number of GPUs that the stage holds while it runs. */
  readonly gpu: number;
  /** Bytes of memory that it is expected to need. */
  readonly memory: number;
  /** Seconds that a run may take, as a batch system would reserve them: it is stopped after them unless `timeout` says otherwise. */
  readonly time?: number | undefined;
}

/**
 * What planning needs of a task, as plain data with everything filled in.
 *
 * A graph holds no functions, so it can be kept between two calls. What a
 * task computes (its `sources`, the folders of its `permissions`, `run`) is
 * reached through `loadTask()` with the stage's `module`.
 */
export interface Declaration {
  readonly inputs: Readonly<Record<string, InputDeclaration>>;
  readonly output: Task["output"];
  readonly needs: readonly string[];
  readonly timings: boolean;
  /** True if the task names files outside the pipeline: ask it on every plan. */
  readonly sources: boolean;
}

export interface Position {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  /** 1-based. */
  readonly column: number;
}

/** A pipeline with all stages expanded, in topological order. */
export interface Graph {
  readonly pipeline: string;
  readonly file: string;
  readonly stages: ReadonlyMap<string, GraphStage>;
  /** Files to print at the end of a run, such as a report. */
  readonly show: readonly Shown[];
}

/** A file of a stage's artifact that is printed at the end of a run. */
export interface Shown {
  readonly stage: string;
  /** Relative to the artifact's folder, with forward slashes. */
  readonly file: string;
}

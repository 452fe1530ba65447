import type { z } from "zod";

/**
 * A kind of stage: what it takes, what it gives, and what it may touch.
 *
 * A task module (`tasks/NAME.ts`) default-exports one of these. Importing it
 * must be cheap (planning imports every task that a pipeline names), so
 * engines and readers are imported inside `run()`. What it declares must depend
 * on the modules that it imports and on nothing else, such as files or the
 * environment: a graph is used again as long as these modules stay the same.
 */
export interface Task<Params extends z.ZodObject = z.ZodObject> {
  /** One line for help texts and the JSON Schema of pipeline files. */
  readonly description: string;
  /** Parameters given by `with`; strict, so a misspelt key is an error. */
  readonly params: Params;
  /** Artifacts of other stages that this one reads. */
  readonly inputs: Readonly<Record<string, InputDeclaration>>;
  /** The artifact that it writes: a folder of this kind, holding at least these files. */
  readonly output: { readonly kind: string; readonly files: readonly string[] };
  /** What the stage's process may touch besides its inputs and its output. Nothing by default. */
  readonly permissions?: Permissions;
  /**
   * Files and folders outside the pipeline that the parameters name
   * (a user's model folder, say), by the dot path of the parameter.
   * Their content takes the place of that parameter in the stage's key.
   * Computed from nothing but the parameters and the user's home folder, since
   * the answer is kept.
   */
  readonly sources?: (
    params: z.output<Params>,
  ) => Readonly<Record<string, string>>;
  /** Runtimes that the stage's process needs (`engine`); their identity is part of the key. */
  readonly needs?: readonly string[];
  /** True if the task reads the recorded seconds and metrics of its inputs, which are then part of its key. */
  readonly timings?: boolean;
  /** Does the work. Called in the stage's own process. */
  readonly run: (stage: Stage<z.output<Params>>) => Promise<void>;
}

/** An input of a task: the kind of artifact, and how many of them. */
export interface InputDeclaration {
  readonly kind: string;
  /** True if any number of stages may be connected (`evaluate[*]`). */
  readonly many?: boolean;
  /** True if the pipeline may leave it out. */
  readonly optional?: boolean;
}

/** Permissions of a stage's process, as Deno's flags name them. */
export interface Permissions {
  /** Network access: true for all hosts. */
  readonly net?: boolean;
  /** Environment variables that it may read; their values are handed to the process. */
  readonly env?: readonly string[];
  /** Programs that it may start (they run without Deno's sandbox). */
  readonly run?: readonly string[];
  /** Folders outside the stage that it may write, such as the user's hub cache. */
  readonly write?: () => readonly string[];
  /** Folders outside the stage that it may read and that cannot change what it produces, such as a download cache. */
  readonly read?: () => readonly string[];
}

/** An artifact handed to a stage. */
export interface InputArtifact {
  /**
   * Of an input that takes `many`, the id of the stage that made it:
   * `train-dylora@mrpc,seed=0`. Of others, the input's own name: which stage is
   * connected to it can make no difference, so renaming that is no reason to run.
   */
  readonly stage: string;
  /** Of an input that takes `many`, that stage's place in its matrix: `{ glue: "mrpc", seed: 0 }`. Of others, empty. */
  readonly matrix: Readonly<Record<string, string | number>>;
  /** Folder that holds it; read only. */
  readonly path: string;
  /** Wall-clock seconds that the stage took when it ran; only for tasks with `timings`. */
  readonly seconds?: number;
  /** Last value of each metric that the stage reported when it ran; only for tasks with `timings`. */
  readonly metrics?: Readonly<Record<string, number>>;
}

/** A runtime as the stage's process sees it, such as `{ engine: "tensorflow", library: "..." }`. */
export type RuntimeSettings = Readonly<
  Record<string, string | number | boolean>
>;

/** What a running stage is given. */
export interface Stage<Params> {
  readonly params: Params;
  /** Artifacts by input name; an input that is not `many` has exactly one, or none if optional. */
  readonly inputs: Readonly<Record<string, readonly InputArtifact[]>>;
  /** Private folder to write the artifact into; empty at the start. */
  readonly output: string;
  /** Folder that survives a crash and is handed to the next attempt; never part of the artifact. */
  readonly checkpoint: string;
  /** Processors that the stage asked for; what it computes may depend on it, so fewer are no reason for another number. */
  readonly cpus: number;
  readonly runtimes: Readonly<Record<string, RuntimeSettings>>;
  /** Aborted on interrupt: write a checkpoint and return soon. */
  readonly signal: AbortSignal;
  /** Reports progress: `progress(128, 8192, "examples", "loss 0.41")`. */
  progress(done: number, total: number, unit: string, note?: string): void;
  /** Writes a line to the stage's log. */
  log(line: string): void;
  /** Reports a measured value; the last of each name is kept with the result. */
  metric(name: string, value: number, step?: number): void;
}

/** Declares a task, inferring the type of its parameters. */
export function defineTask<Params extends z.ZodObject>(
  task: Task<Params>,
): Task<Params> {
  return task;
}

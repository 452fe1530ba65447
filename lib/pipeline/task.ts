import type { z } from "zod";

/**
 * A kind of stage: its parameters, inputs, output and permissions.
 *
 * A task module (`tasks/NAME.ts`) has a task as its default export. Importing
 * it must be cheap, because planning imports all tasks of a pipeline: what a
 * stage runs is a module of its own, which `run()` imports. The declaration
 * must depend on the imported modules only, not on files or the environment: a
 * graph is used again as long as these modules do not change.
 */
export interface Task<Params extends z.ZodObject = z.ZodObject> {
  /** One line for help texts and the JSON Schema of pipeline files. */
  readonly description: string;
  /** Schema of the parameters under `with`; unknown keys are refused. */
  readonly params: Params;
  /** Artifacts of other stages that the task reads. */
  readonly inputs: Readonly<Record<string, InputDeclaration>>;
  /**
   * The artifact that the task writes: a folder of this kind with at least
   * these files.
   */
  readonly output: { readonly kind: string; readonly files: readonly string[] };
  /**
   * Permissions of the stage's process besides its inputs and output. None by
   * default.
   */
  readonly permissions?: Permissions;
  /**
   * Files and folders outside the pipeline that parameters name, such as a
   * model folder, by the dot path of the parameter. In the stage's key, their
   * content replaces the parameter. The result is stored, so it must depend on
   * the parameters and the user's home folder only.
   */
  readonly sources?: (
    params: z.output<Params>,
  ) => Readonly<Record<string, string>>;
  /**
   * Looks for a fault of the sources before a stage runs, such as a column that
   * a table lacks. Plans call it as well, so it must be fast.
   *
   * @param params With the sources as absolute paths
   * @throws {Error} If there is one.
   */
  readonly check?: (params: z.output<Params>) => Promise<void>;
  /**
   * Runtimes that the stage's process needs (`engine`); their identity is part
   * of the key.
   */
  readonly needs?: readonly string[];
  /**
   * True if the task reads the recorded seconds, metrics and machines of its
   * inputs; they become part of its key.
   */
  readonly timings?: boolean;
  /**
   * True if a stage takes seconds on one processor. A run on a batch system
   * then runs it on the scheduler's machine, as it does stages with network
   * access.
   */
  readonly small?: boolean;
  /** Runs the stage, in a process of its own. */
  readonly run: (stage: Stage<z.output<Params>>) => Promise<void>;
}

/** An input of a task: its kind of artifact, and how many it takes. */
export interface InputDeclaration {
  readonly kind: string;
  /** True if the input takes any number of artifacts (`evaluate[*]`). */
  readonly many?: boolean;
  /** True if a pipeline may leave the input out. */
  readonly optional?: boolean;
}

/** Permissions of a stage's process, in the terms of Deno's flags. */
export interface Permissions {
  /** Network access: true for all hosts. */
  readonly net?: boolean;
  /** Environment variables that the process gets and may read. */
  readonly env?: readonly string[];
  /** Programs that the process may start; they run outside Deno's sandbox. */
  readonly run?: readonly string[];
  /** Other folders that the process may write, such as the user's hub cache. */
  readonly write?: () => readonly string[];
  /**
   * Other folders that the process may read and that do not affect its output,
   * such as a download cache.
   */
  readonly read?: () => readonly string[];
}

/** An artifact as an input of a stage. */
export interface InputArtifact {
  /**
   * For inputs with `many`, the id of the stage that produced the artifact:
   * `train-dylora@mrpc,seed=0`. For others, the name of the input, so that
   * renaming the connected stage cannot affect the result.
   */
  readonly stage: string;
  /**
   * For inputs with `many`, the matrix values of that stage:
   * `{ glue: "mrpc", seed: 0 }`. For others, empty.
   */
  readonly matrix: Readonly<Record<string, string | number>>;
  /** Folder of the artifact; read only. */
  readonly path: string;
  /**
   * Wall-clock seconds of the run that produced it; only for tasks with
   * `timings`.
   */
  readonly seconds?: number;
  /**
   * Last value of each metric of the run that produced it; only for tasks with
   * `timings`.
   */
  readonly metrics?: Readonly<Record<string, number>>;
  /**
   * What computed it, such as `AMD EPYC 9B14, 2 threads`, if that is recorded;
   * only for tasks with `timings`.
   */
  readonly machine?: string;
  /**
   * Absolute path at which the user sees the artifact, such as that of
   * `out/smoke/model`; only if a command runs the task, since results of stages
   * are used in any folder.
   */
  readonly visiblePath?: string;
}

/**
 * A runtime as the stage's process sees it, such as
 * `{ engine: "tensorflow", library: "..." }`.
 */
type RuntimeSettings = Readonly<
  Record<string, string | number | boolean>
>;

/**
 * Artifacts by the names of inputs, as a stage's process gets them; an input
 * that is not `many` has exactly one, or none if optional.
 */
type InputArtifacts = Readonly<Record<string, readonly InputArtifact[]>>;

/**
 * Artifacts by the names of declared inputs: one, several, or undefined if a
 * pipeline may leave the input out.
 */
export type InputsOf<Declared> = {
  readonly [Name in keyof Declared]: Declared[Name] extends
    { readonly many: true } ? readonly InputArtifact[]
    : Declared[Name] extends { readonly optional: true }
      ? InputArtifact | undefined
    : InputArtifact;
};

/** What a running stage gets. */
export interface Stage<Params, Inputs = InputArtifacts> {
  readonly params: Params;
  readonly inputs: Inputs;
  /** Folder for the artifact; empty at the start. */
  readonly output: string;
  /**
   * Folder that the next attempt gets after a crash or an interrupt; not part
   * of the artifact.
   */
  readonly checkpoint: string;
  /**
   * Number of CPU cores that the pipeline gives the stage. Results may depend
   * on it, so it does not change if the machine has fewer.
   */
  readonly cpus: number;
  readonly runtimes: Readonly<Record<string, RuntimeSettings>>;
  /** Aborted on interrupt: write a checkpoint and return soon. */
  readonly signal: AbortSignal;
  /**
   * Reports progress: `progress(128, 8192, "examples", "loss 0.41")`. It may be
   * called at any rate. The same count again, with another note, says what
   * begins now: `progress(0, 8192, "examples", "compiling length 32")`.
   */
  progress(done: number, total: number, unit: string, note?: string): void;
  /** Writes a line to the stage's log. */
  log(line: string): void;
  /**
   * Says that a checkpoint was written, or found, and where the next attempt
   * goes on: `step 175`.
   */
  saved(position: string): void;
  /**
   * Reports a measured value; the last value of each name is stored with the
   * result.
   */
  metric(name: string, value: number, step?: number): void;
}

/** A task whose stages get the inputs that it declares. */
interface TypedTask<Params extends z.ZodObject, Inputs>
  extends Omit<Task<Params>, "inputs" | "run"> {
  readonly inputs: Inputs;
  readonly run: (
    stage: Stage<z.output<Params>, InputsOf<Inputs>>,
  ) => Promise<void>;
}

/** Declares a task, and infers the types of its parameters and inputs. */
export function defineTask<
  Params extends z.ZodObject,
  const Inputs extends Readonly<Record<string, InputDeclaration>>,
>(task: TypedTask<Params, Inputs>): Task<Params> {
  return {
    ...task,
    run: (stage) => {
      const inputs = Object.entries(task.inputs).map(([name, { many }]) => {
        const artifacts = stage.inputs[name] ?? [];
        return [name, many ? artifacts : artifacts[0]] as const;
      });
      return task.run({
        ...stage,
        inputs: Object.fromEntries(inputs) as InputsOf<Inputs>,
      });
    },
  };
}

import { join } from "../files/paths.ts";
import type { TreeFile } from "../store/blobs.ts";
import type { Manifest } from "../store/manifests.ts";
import type { Executor } from "./executors/executor.ts";
import { local } from "./executors/local.ts";

/** Where and how stages run. */
export interface Settings {
  /** Folder of the project's `deno.json`. */
  readonly project: string;
  /** Folder of all outputs: `cache/`, and a folder per pipeline. */
  readonly out: string;
  /** Runs the stages' processes. */
  readonly executor: Executor;
  /**
   * Finds the runtimes that tasks need, by name. Each is called at most once
   * per run.
   */
  readonly runtimes: Readonly<Record<string, () => Promise<Runtime>>>;
  readonly limits: Limits;
  /** Ids of stages that run even if their results are in the cache. */
  readonly force: ReadonlySet<string>;
  /**
   * False if a stage fails, instead of waiting, when another process runs it or
   * holds what it needs.
   */
  readonly wait: boolean;
  /** False if no further stage starts after a failure. */
  readonly keepGoing: boolean;
  /** Seconds between asking a stage's process to end and killing it. */
  readonly grace: number;
  /** Bytes of the cache above which old results are removed after a run. */
  readonly cacheLimit: number;
  readonly remote?: RemoteResults | undefined;
}

/**
 * A result of the cache, or of a remote, whose files need not be in the cache
 * yet.
 */
export interface Hit {
  readonly manifest: Manifest;
  /** Name of the remote that has it; undefined if the cache does. */
  readonly from?: string;
  /**
   * Downloads the result into the cache, unless it is there: its files, then
   * its manifest. False if that fails; the result is then not found again.
   */
  fetch(): Promise<boolean>;
  /** Downloads some of its files, but not the result. False if that fails. */
  fetchFiles(files: readonly TreeFile[]): Promise<boolean>;
}

/**
 * Results of other caches, for those that the own one lacks. A remote failure
 * never fails a run.
 */
export interface RemoteResults {
  /** Its address, for messages. */
  readonly name: string;
  /** The result of a key. */
  find(key: string): Promise<Hit | undefined>;
  /** Stores a new result of the cache, in the background. */
  offer(manifest: Manifest): void;
}

/** Resources that all running stages may use together. */
export interface Limits {
  /** Number of stages that run at the same time. */
  readonly jobs: number;
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Ids of the GPUs that stages may use, as in `CUDA_VISIBLE_DEVICES`. */
  readonly gpus: readonly string[];
}

/**
 * Something outside the project that a stage's process needs, such as the
 * engine with its native library.
 */
export interface Runtime {
  /**
   * Part of the key of every stage that needs it:
   * `tensorflow 2.21.0 cpu linux-x86_64`.
   */
  readonly identity: string;
  /**
   * True if its results depend, in the last bits, on the number of threads. The
   * key then contains the number of processors that the stage asks for.
   */
  readonly threaded?: boolean;
  /**
   * What computes: the name of the processor, or of the GPU. Results record it
   * beside their seconds.
   */
  readonly machine?: () => Promise<string>;
  /**
   * Number of GPUs that each stage using it needs; 0 by default. Not part of
   * the key.
   */
  readonly gpus?: number;
  /** Settings passed to the stage's process. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  /** Deno flags of the process: `--allow-ffi`, `--unstable-webgpu`. */
  readonly flags: readonly string[];
  /** Paths that the process may read. */
  readonly read: readonly string[];
  /** Paths that only its native code reads and writes, through FFI. */
  readonly native?: {
    readonly read: readonly string[];
    readonly write: readonly string[];
  };
  /** Environment variables that the process may read, with their values. */
  readonly env: Readonly<Record<string, string>>;
  /**
   * Files that its stages hand on to later ones, such as compiled code. They
   * affect no result and are part of none.
   */
  readonly sharedFiles?: {
    /** What they are, as the start of a message: "Compiled code". */
    readonly title: string;
    /**
     * Further settings of a stage's process, given the folder for these files.
     */
    settings(folder: string): Readonly<Record<string, string>>;
    /** Paths that the process may read for it. */
    readonly read: readonly string[];
    /** Keeps the files of that folder after the stage has succeeded. */
    keep(folder: string): Promise<void>;
  };
  /**
   * Makes it usable, for instance by installing a library that is missing or
   * damaged. Called before each stage that needs it.
   */
  readonly prepare: () => Promise<void>;
}

/**
 * Default settings: the project's own `out` folder, and all of this machine.
 */
export function defaultSettings(project: string): Settings {
  const cpus = navigator.hardwareConcurrency;
  return {
    project,
    out: join(project, "out"),
    executor: local,
    runtimes: {},
    limits: {
      jobs: cpus,
      cpus,
      memory: Deno.systemMemoryInfo().total,
      gpus: visibleGpus(),
    },
    force: new Set(),
    wait: true,
    keepGoing: true,
    grace: 20,
    cacheLimit: 50e9,
  };
}

/**
 * Ids of the GPUs of this machine that `CUDA_VISIBLE_DEVICES`, if set, does not
 * hide. CUDA numbers the GPUs that it sees from 0, independent of the names of
 * their devices: a container may have `nvidia3` only.
 */
export function visibleGpus(
  devices = [...Deno.readDirSync("/dev")].map(({ name }) => name),
): string[] {
  const chosen = Deno.env.get("CUDA_VISIBLE_DEVICES");
  if (chosen !== undefined) {
    const ids = chosen.split(",").map((id) => id.trim());
    return [...new Set(ids)].filter((id) => id !== "" && id !== "-1");
  }
  const numbered = devices.filter((name) => /^nvidia\d+$/.test(name));
  // The Windows Subsystem for Linux has one GPU, under this name.
  return numbered.length === 0 && devices.includes("dxg")
    ? ["0"]
    : numbered.map((_, index) => String(index));
}

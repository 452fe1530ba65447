import type { InstallOptions } from "./install.ts";

/** Engines, in the order in which `auto` tries them. */
export const ENGINES = ["tensorflow", "webgpu", "wasm"] as const;
export type EngineName = (typeof ENGINES)[number];

/** A chosen engine and what a process needs to run it. */
export interface EngineChoice {
  readonly engine: EngineName;
  /**
   * The device it computes on. With `gpu`, a process that finds none must fail.
   */
  readonly device: "cpu" | "gpu";
  /**
   * Description of the engine and of why it was chosen:
   * `libtensorflow on the CPU: no NVIDIA driver found`.
   */
  readonly reason: string;
  /**
   * The engine's part of a stage's key, with the digest of the library:
   * `tensorflow 2.21.0 linux-x86_64 cpu 8e3c10b5a1b2c3d4`.
   */
  readonly identity: string;
  /** Folder of libtensorflow's files, or of the WebAssembly modules. */
  readonly library?: string;
  /** Deno flags of the process. */
  readonly flags: readonly string[];
  /** Folders outside the project that the process must be allowed to read. */
  readonly read: readonly string[];
  /** Paths that only the library reads and writes, through FFI. */
  readonly native?: {
    readonly read: readonly string[];
    readonly write: readonly string[];
  };
  /** Environment variables of the process. */
  readonly env: Readonly<Record<string, string>>;
  /**
   * Makes the engine ready to run, installing the library if it is missing or
   * damaged.
   *
   * @throws {RemediedError} If it cannot be installed.
   */
  prepare(options?: InstallOptions): Promise<void>;
}

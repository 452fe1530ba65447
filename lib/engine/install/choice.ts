import type { InstallOptions } from "./install.ts";

/** Engines, in the order in which `auto` tries them. */
export const ENGINES = ["tensorflow", "webgpu", "wasm"] as const;
export type EngineName = (typeof ENGINES)[number];

/** An engine that was chosen, and what a process needs to use it. */
export interface EngineChoice {
  readonly engine: EngineName;
  /** What it computes on. With `gpu`, a process that finds none must fail. */
  readonly device: "cpu" | "gpu";
  /** What it is and why, in words: `libtensorflow on the CPU: no NVIDIA driver is found`. */
  readonly reason: string;
  /** Part of the key of what it computes: `tensorflow 2.21.0 linux-x86_64 cpu`. */
  readonly identity: string;
  /** Folder of libtensorflow's files, for the engine that needs it. */
  readonly library?: string;
  /** Deno flags for the process. */
  readonly flags: readonly string[];
  /** Folders outside the project that the process reads. */
  readonly read: readonly string[];
  /** Environment variables that the process gets. */
  readonly env: Readonly<Record<string, string>>;
  /**
   * Makes it ready; the library is fetched if it is not there yet.
   *
   * @returns This choice, or, if `auto` had to give it up, the next one with the reason.
   * @throws {InstallError} With the remedy.
   */
  prepare(options?: InstallOptions): Promise<EngineChoice>;
}

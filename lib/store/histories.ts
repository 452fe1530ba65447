import { join } from "node:path";
import { quickChecksum } from "./digest.ts";
import { readSealed, writeSealed } from "./files.ts";
import { lockFile } from "./locks.ts";
import { fingerprint, settled } from "./stats.ts";

/** How many results of a stage are remembered, to explain the next against the nearest. */
const LENGTH = 20;

/** What became of a stage over its runs. */
export interface History {
  /** Keys that it had, the last first. */
  readonly keys: readonly string[];
  /** The last run, if that failed. */
  readonly failure?: Failure;
}

export interface Failure {
  readonly key: string;
  readonly message: string;
  /** When it ended: ISO 8601. */
  readonly ended: string;
  /** File with its log. */
  readonly log: string;
}

/** The histories of stages, by pipeline and stage: `stages/PIPELINE/STAGE.json`. */
export class Histories {
  readonly folder: string;
  readonly #latest = new Map<string, LatestKeys>();

  constructor(folder: string) {
    this.folder = folder;
  }

  read(pipeline: string, stage: string): History {
    const sealed = readSealed(this.#path(pipeline, stage));
    if (sealed.state !== "whole" || !Array.isArray(sealed.value.keys)) {
      return { keys: [] };
    }
    return sealed.value as unknown as History;
  }

  /** Notes that the stage's result is now the one with this key. */
  succeeded(pipeline: string, stage: string, key: string): void {
    const latest = this.#latestOf(pipeline);
    if (latest.get(stage) === key) return;
    const { keys, failure } = this.read(pipeline, stage);
    if (keys[0] === key && failure === undefined) {
      return latest.set(stage, key);
    }
    this.#write(pipeline, stage, {
      keys: [key, ...keys.filter((other) => other !== key)].slice(0, LENGTH),
    });
  }

  /** Notes that the stage's last run failed. */
  failed(pipeline: string, stage: string, failure: Failure): void {
    const { keys } = this.read(pipeline, stage);
    this.#write(pipeline, stage, { keys, failure });
  }

  /** Makes the next run that changes nothing read one file for all stages of the pipeline. */
  remember(pipeline: string): void {
    this.#latest.get(pipeline)?.save();
  }

  #latestOf(pipeline: string): LatestKeys {
    let latest = this.#latest.get(pipeline);
    if (latest === undefined) {
      const folder = join(this.folder, pipeline);
      latest = new LatestKeys(join(this.folder, `.${pipeline}.json`), folder);
      this.#latest.set(pipeline, latest);
    }
    return latest;
  }

  #path(pipeline: string, stage: string): string {
    return join(this.folder, pipeline, `${stage}.json`);
  }

  #write(pipeline: string, stage: string, history: History): void {
    const path = this.#path(pipeline, stage);
    Deno.mkdirSync(join(path, ".."), { recursive: true });
    writeSealed(path, history);
  }
}

/**
 * Remembers with which key the history of each stage of a pipeline begins, as
 * long as nothing is written into the folder of histories: one file in place of
 * one for each stage.
 */
export class LatestKeys {
  readonly #path: string;
  readonly #folder: string;
  /** The state of the folder that is remembered; undefined if a later write might not show in it. */
  readonly #state: string | undefined;
  readonly #keys: Map<string, string>;
  #changed = false;

  /**
   * @param path The file to remember in.
   * @param folder Folder of the histories.
   */
  constructor(path: string, folder: string) {
    this.#path = path;
    this.#folder = folder;
    this.#state = stateOf(folder);
    this.#keys = readKeys(path, this.#state);
  }

  get(stage: string): string | undefined {
    return this.#keys.get(stage);
  }

  /** Takes over what a history was found to begin with. */
  set(stage: string, key: string): void {
    this.#keys.set(stage, key);
    this.#changed = true;
  }

  /** Writes what was found, if no history has been written since it was looked for. */
  save(): void {
    if (!this.#changed || this.#state === undefined) return;
    if (stateOf(this.#folder) !== this.#state) return;
    const keys = Object.fromEntries(this.#keys);
    writeSealed(this.#path, { state: this.#state, keys }, quickChecksum);
  }
}

function stateOf(folder: string): string | undefined {
  const print = fingerprint(folder);
  return print !== undefined && settled(print, Date.now())
    ? `${print.inode} ${print.changed}`
    : undefined;
}

function readKeys(
  path: string,
  state: string | undefined,
): Map<string, string> {
  const sealed = readSealed(path, quickChecksum);
  return sealed.state === "whole" && sealed.value.state === state
    ? new Map(Object.entries(sealed.value.keys as Record<string, string>))
    : new Map();
}

/** How many runs of each pipeline keep their results from being cleaned up. */
const RUNS = 10;

/** The results that the last runs of each pipeline came to: `used/PIPELINE.json`. */
export class Usage {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Notes what a run came to; a run that came to what the one before did is the same run. */
  async record(pipeline: string, keys: readonly string[]): Promise<void> {
    const path = join(this.folder, `${pipeline}.json`);
    using _lock = await lockFile(`${this.folder}.lock`);
    const runs = readRuns(path);
    const sorted = [...new Set(keys)].sort();
    if (sorted.length === 0 || runs[0]?.join() === sorted.join()) return;
    const others = runs.filter((run) => run.join() !== sorted.join());
    Deno.mkdirSync(this.folder, { recursive: true });
    writeSealed(path, { runs: [sorted, ...others].slice(0, RUNS) });
  }

  /** All keys that the last runs came to. */
  keys(): Set<string> {
    const keys = new Set<string>();
    try {
      for (const { name } of Deno.readDirSync(this.folder)) {
        for (const key of readRuns(join(this.folder, name)).flat()) {
          keys.add(key);
        }
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return keys;
  }
}

function readRuns(path: string): string[][] {
  const sealed = readSealed(path);
  return sealed.state === "whole" ? sealed.value.runs as string[][] : [];
}

/** Results that a clean-up never takes, by key. */
export class Pins {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  read(): Set<string> {
    const sealed = readSealed(this.#path);
    if (sealed.state === "damaged") {
      throw new Error(
        `"${this.#path}" is damaged; remove it and pin again what is to stay`,
      );
    }
    return new Set(
      sealed.state === "whole" ? sealed.value.keys as string[] : [],
    );
  }

  /** Pins the keys, or no longer. */
  async set(keys: readonly string[], pinned: boolean): Promise<void> {
    using _lock = await lockFile(`${this.#path}.lock`);
    const all = this.read();
    for (const key of keys) {
      if (pinned) all.add(key);
      else all.delete(key);
    }
    writeSealed(this.#path, { keys: [...all].sort() });
  }
}

import { join } from "../files/paths.ts";
import {
  entriesOf,
  readIfThere,
  readSealed,
  unseal,
  writeSealed,
} from "../files/files.ts";
import { lockFile } from "../files/locks.ts";
import { fingerprint } from "../files/fingerprints.ts";

/** Number of results recorded per stage. */
const LENGTH = 20;

/** Outcomes of a stage's runs. */
interface History {
  /** Keys of its results, latest first. */
  readonly keys: readonly string[];
  /** Set if the last run ended without a result. */
  readonly unfinished?: UnfinishedRun;
}

/** A run that ended without a result. */
export interface UnfinishedRun {
  readonly state: "failed" | "interrupted";
  readonly key: string;
  readonly message: string;
  /** When it ended: ISO 8601. */
  readonly ended: string;
  /** Path of its log. */
  readonly log: string;
}

/**
 * History of each stage: `stages/PIPELINE/STAGE.json`. Runs without a result
 * are explained from it, and keys compared with the nearest earlier one.
 */
export class Histories {
  constructor(readonly folder: string) {}

  read(pipeline: string, stage: string): History {
    return readSealed<History>(this.#path(pipeline, stage)) ?? { keys: [] };
  }

  /** Names of the pipelines whose stages have run. */
  pipelines(): string[] {
    return entriesOf(this.folder).filter(({ isDirectory }) => isDirectory)
      .map(({ name }) => name);
  }

  /**
   * Ids of the stages of a pipeline that have run, in the order of their names.
   */
  stages(pipeline: string): string[] {
    return entriesOf(join(this.folder, pipeline))
      .flatMap(({ name }) => /^(.+)\.json$/.exec(name)?.[1] ?? []).sort();
  }

  /**
   * A pipeline, and the names under which its runs with `--name` are recorded.
   */
  named(pipeline: string): string[] {
    const others = entriesOf(this.folder).map(({ name }) => name)
      .filter((name) => name.startsWith(`${pipeline}@`));
    return [pipeline, ...others.sort()];
  }

  /**
   * Keys of the results that stages show in their folders, which may be gone.
   *
   * @param out The folder of all output folders: `OUT/PIPELINE/STAGE`.
   */
  shown(out: string): string[] {
    return this.pipelines().flatMap((pipeline) =>
      this.stages(pipeline)
        .filter((stage) => fingerprint(join(out, pipeline, stage)))
        .flatMap((stage) => this.read(pipeline, stage).keys.slice(0, 1))
    );
  }

  /** Records that the stage's result is now the one with this key. */
  async succeeded(pipeline: string, stage: string, key: string): Promise<void> {
    const { keys: [first], unfinished } = this.read(pipeline, stage);
    if (first === key && unfinished === undefined) return;
    await this.#change(pipeline, stage, ({ keys }) => ({
      keys: [key, ...keys.filter((other) => other !== key)].slice(0, LENGTH),
    }));
  }

  /** Records that the stage's last run failed or was interrupted. */
  async ended(
    pipeline: string,
    stage: string,
    unfinished: UnfinishedRun,
  ): Promise<void> {
    await this.#change(pipeline, stage, ({ keys }) => ({ keys, unfinished }));
  }

  #path(pipeline: string, stage: string): string {
    return join(this.folder, pipeline, `${stage}.json`);
  }

  /**
   * Replaces a history, which runs with other parameters may change at the same
   * time.
   */
  async #change(
    pipeline: string,
    stage: string,
    next: (history: History) => History,
  ): Promise<void> {
    const path = this.#path(pipeline, stage);
    Deno.mkdirSync(join(path, ".."), { recursive: true });
    using _lock = await lockFile(`${this.folder}.lock`);
    writeSealed(path, next(this.read(pipeline, stage)));
  }
}

/** Number of latest runs per pipeline whose results a clean-up keeps. */
const RUNS = 10;

/**
 * Keys of the results of the latest runs of each pipeline:
 * `used/PIPELINE.json`.
 */
export class RecentRuns {
  constructor(readonly folder: string) {}

  /** Records the results of a run. Runs with the same results count once. */
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

  /** Keys of the results of all latest runs. */
  keys(): Set<string> {
    return new Set(
      entriesOf(this.folder).flatMap(({ name }) =>
        readRuns(join(this.folder, name)).flat()
      ),
    );
  }
}

function readRuns(path: string): string[][] {
  return readSealed<{ runs: string[][] }>(path)?.runs ?? [];
}

/** Keys of the results that a clean-up never removes: `pins.json`. */
export class Pins {
  constructor(private readonly path: string) {}

  read(): Set<string> {
    const text = readIfThere(this.path);
    if (text === undefined) return new Set();
    const pins = unseal<{ keys: string[] }>(text);
    if (pins !== undefined) return new Set(pins.keys);
    throw new Error(
      `"${this.path}" is damaged; remove it and pin the results again`,
    );
  }

  /** Pins or unpins results. */
  async set(keys: readonly string[], pinned: boolean): Promise<void> {
    using _lock = await lockFile(`${this.path}.lock`);
    const all = this.read();
    for (const key of keys) {
      if (pinned) all.add(key);
      else all.delete(key);
    }
    writeSealed(this.path, { keys: [...all].sort() });
  }
}

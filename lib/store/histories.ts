import { join } from "node:path";
import { LatestKeys } from "./latest_keys.ts";
import { readSealed, writeSealed } from "./sealed.ts";

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

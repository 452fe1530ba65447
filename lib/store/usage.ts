import { join } from "node:path";
import { lockFile } from "./locks.ts";
import { readSealed, writeSealed } from "./sealed.ts";

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
    const runs = read(path);
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
        for (const key of read(join(this.folder, name)).flat()) keys.add(key);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return keys;
  }
}

function read(path: string): string[][] {
  const sealed = readSealed(path);
  return sealed.state === "whole" ? sealed.value.runs as string[][] : [];
}

import { join } from "../files/paths.ts";
import { Blobs } from "./blobs.ts";
import { Histories, Pins, RecentRuns } from "./histories.ts";
import { type Lookup, type Manifest, Manifests } from "./manifests.ts";
import { isReadOnly } from "../files/files.ts";
import { Memo } from "./memo.ts";
import { Stats } from "./stats.ts";

/** The cache: everything below one folder. */
export class Store {
  readonly memo: Memo;
  readonly stats: Stats;
  readonly blobs: Blobs;
  readonly manifests: Manifests;
  readonly histories: Histories;
  readonly pins: Pins;
  readonly recentRuns: RecentRuns;

  /** @param folder Absolute path of the cache's folder. */
  constructor(readonly folder: string) {
    this.memo = new Memo(this.path("memo.json"));
    this.stats = new Stats(this.memo);
    this.blobs = new Blobs(this.path("blobs"), this.stats);
    this.manifests = new Manifests(this.path("manifests"));
    this.histories = new Histories(this.path("stages"));
    this.pins = new Pins(this.path("pins.json"));
    this.recentRuns = new RecentRuns(this.path("used"));
  }

  /** A path below the cache's folder. */
  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  /** Path of a folder of the cache, which is created if needed. */
  makeFolder(...parts: string[]): string {
    const folder = this.path(...parts);
    Deno.mkdirSync(folder, { recursive: true });
    return folder;
  }

  /** The recorded results of a stage that the cache has, latest first. */
  *results(pipeline: string, stage: string): Generator<Manifest> {
    for (const key of this.histories.read(pipeline, stage).keys) {
      const manifest = this.manifests.find(key);
      if (manifest !== undefined) yield manifest;
    }
  }

  /**
   * Records that a stage's result is now the one of this key, if the cache is
   * writable.
   */
  async noteResult(
    pipeline: string,
    stage: string,
    key: string,
  ): Promise<void> {
    await unlessReadOnly(() => this.histories.succeeded(pipeline, stage, key));
  }

  /** Records the results of a run, if the cache is writable. */
  async noteRun(pipeline: string, keys: readonly string[]): Promise<void> {
    await this.memo.save();
    await unlessReadOnly(() => this.recentRuns.record(pipeline, keys));
  }

  /**
   * Looks up the result of a key. It is usable only if all of its files and its
   * log are intact.
   */
  async lookup(key: string): Promise<Lookup> {
    const lookup = this.manifests.read(key);
    if (lookup.state !== "found") return lookup;
    const { files, log } = lookup.manifest;
    for (const { path, blob } of files) {
      if (!await this.blobs.holds(blob)) {
        return { state: "unusable", fault: `has lost "${path}"` };
      }
    }
    return await this.blobs.holds(log.blob)
      ? lookup
      : { state: "unusable", fault: "has lost its log" };
  }
}

async function unlessReadOnly(work: () => void | Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isReadOnly(error)) throw error;
  }
}

import { join } from "../files/paths.ts";
import { isHeldHere, lockHolder, tryLockFile } from "../files/locks.ts";
import { systemCode } from "../files/files.ts";
import type { Store } from "../store/store.ts";

/** GPUs that no other stage of the cache uses until they are released. */
export interface HeldGpus extends Disposable {
  /**
   * UUIDs where the driver tells them, otherwise the names by which they were
   * chosen.
   */
  readonly ids: readonly string[];
}

/** GPUs to take. */
interface WantedGpus {
  readonly count: number;
  /** Ids to choose from. */
  readonly among: readonly string[];
  /**
   * Called once if other processes hold them: `process 1234 (GPU 0)`. If it
   * throws, waiting ends.
   */
  readonly onWait: (holders: string) => void;
  /** Cancels waiting. */
  readonly signal: AbortSignal;
}

/** Result of {@linkcode gpuUuids}, which takes up to a second or two. */
let machineGpus: Promise<string[]> | undefined;

/** Milliseconds between two tries to take GPUs. */
const PAUSE = 100;

/**
 * Takes GPUs, waiting until they are free. Each is locked by a file in the
 * cache, named after its UUID, whatever it is called here.
 *
 * @param store The cache that has the locks.
 * @param uuids UUIDs of the machine's GPUs, in the order of their numbers.
 * @throws {Error} If there are fewer to choose from.
 */
export async function holdGpus(
  store: Store,
  { count, among: names, onWait, signal }: WantedGpus,
  uuids?: readonly string[],
): Promise<HeldGpus> {
  if (uuids === undefined) {
    if (count > 0) machineGpus ??= gpuUuids();
    uuids = count > 0 ? await machineGpus! : [];
  }
  const among = new Set(names.map((name) => uuidOf(name, uuids)));
  if (count > among.size) {
    const needed = count === 1 ? "1 GPU is" : `${count} GPUs are`;
    const remedy = "(see --gpus and CUDA_VISIBLE_DEVICES)";
    throw new Error(
      `${needed} needed, but ${among.size} can be used ${remedy}`,
    );
  }
  if (count === 0) return { ids: [], [Symbol.dispose]() {} };
  const folder = store.makeFolder("locks");
  for (let told = false;;) {
    signal.throwIfAborted();
    const tried = tryGpus(count, among, folder);
    if ("ids" in tried) return tried;
    const { taken } = tried;
    if (among.size - taken.length < count && !told) {
      onWait(taken.join(", "));
      told = true;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

/**
 * Locks `count` GPUs atomically, or returns their holders, so that two stages
 * cannot each hold half of what both need.
 */
function tryGpus(
  count: number,
  among: Iterable<string>,
  folder: string,
): HeldGpus | { readonly taken: readonly string[] } {
  using held = new DisposableStack();
  const ids: string[] = [];
  const taken: string[] = [];
  for (const id of among) {
    const path = join(folder, `gpu-${encodeURIComponent(id)}`);
    const lock = tryLockFile(path);
    if (lock !== undefined) ids.push(id);
    // Another stage of this process holds it, and will release it.
    else if (!isHeldHere(path)) taken.push(`${lockHolder(path)} (GPU ${id})`);
    held.use(lock);
    if (ids.length < count) continue;
    const kept = held.move();
    return { ids, [Symbol.dispose]: () => kept.dispose() };
  }
  return { taken };
}

/**
 * UUIDs of the GPUs that this process can open, in the order of their numbers;
 * empty if there is no `nvidia-smi`.
 */
export async function gpuUuids(): Promise<string[]> {
  // Takes 10 ms to load, which a run without GPUs need not wait for.
  const { spawnSync } = await import("node:child_process");
  const args = ["--query-gpu=uuid", "--format=csv,noheader"];
  // It hangs where a GPU has failed.
  const options = { encoding: "utf8", timeout: 20_000 } as const;
  const { stdout, error } = spawnSync("nvidia-smi", args, options);
  if (error && systemCode(error) !== "ENOENT") throw error;
  return stdout?.match(/^GPU-\S+/gm) ?? [];
}

/**
 * The UUID of a GPU that is given by its number or by a prefix of its UUID;
 * other names are returned unchanged.
 */
function uuidOf(name: string, uuids: readonly string[]): string {
  if (/^\d+$/.test(name)) return uuids[Number(name)] ?? name;
  if (!name.startsWith("GPU-")) return name;
  const matches = uuids.filter((uuid) => uuid.startsWith(name));
  return matches.length === 1 ? matches[0]! : name;
}

import { join } from "node:path";
import type { Store } from "../store/store.ts";
import { removeFolder } from "./visible.ts";

/**
 * The checkpoint folder for the next attempt at a key, with what the last
 * attempt left. It is moved to a new name each time, so a process of an earlier
 * attempt that is still dying finds nothing to write to. The key must be locked.
 */
export function takeCheckpoint(key: string, store: Store): string {
  const folder = store.makeFolder("checkpoints", key);
  const attempts = [...Deno.readDirSync(folder)]
    .map(({ name }) => Number(name)).filter(Number.isInteger)
    .sort((a, b) => b - a);
  const [last = 0, ...older] = attempts;
  const next = join(folder, String(last + 1));
  if (attempts.length === 0) Deno.mkdirSync(next);
  else Deno.renameSync(join(folder, String(last)), next);
  for (const attempt of older) removeFolder(join(folder, String(attempt)));
  return next;
}

/** Forgets what is left of attempts at a key. */
export function dropCheckpoint(key: string, store: Store): void {
  removeFolder(store.path("checkpoints", key));
}

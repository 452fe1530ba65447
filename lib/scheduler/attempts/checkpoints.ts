import { join } from "node:path";
import { canonicalJson } from "../../store/canonical.ts";
import type { Fingerprint } from "../../store/fingerprint.ts";
import { readSealed, writeSealed } from "../../store/sealed.ts";
import type { Store } from "../../store/store.ts";
import { removeFolder } from "./visible.ts";

/** What is written of no sources: nothing. */
const NONE = "[]";

/**
 * The checkpoint folder for the next attempt at a key, with what the last
 * attempt left. It is moved to a new name each time, so a process of an earlier
 * attempt that is still dying finds nothing to write to. The key must be locked.
 *
 * @param sources Fingerprints of the sources' files. Nothing is left of an
 * attempt that began with others: it may have read another content, although
 * the key is the same again.
 */
export function takeCheckpoint(
  key: string,
  sources: readonly (Fingerprint | undefined)[],
  store: Store,
): string {
  const folder = store.makeFolder("checkpoints", key);
  const prints = canonicalJson(sources.map((print) => print ?? null));
  const beside = join(folder, "sources.json");
  const before = readSealed(beside);
  const sameSources = prints ===
    (before.state === "whole" ? before.value.prints : NONE);
  const attempts = [...Deno.readDirSync(folder)]
    .map(({ name }) => Number(name)).filter(Number.isInteger)
    .sort((a, b) => b - a);
  const last = sameSources ? attempts[0] : undefined;
  const next = join(folder, String((attempts[0] ?? 0) + 1));
  for (const attempt of attempts) {
    if (attempt !== last) removeFolder(join(folder, String(attempt)));
  }
  if (!sameSources) writeSealed(beside, { prints });
  if (last === undefined) Deno.mkdirSync(next);
  else Deno.renameSync(join(folder, String(last)), next);
  return next;
}

/** Forgets what is left of attempts at a key. */
export function dropCheckpoint(key: string, store: Store): void {
  removeFolder(store.path("checkpoints", key));
}

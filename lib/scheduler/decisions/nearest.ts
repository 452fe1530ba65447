import type { KeyParts, Manifest } from "../../store/manifest.ts";
import type { Store } from "../../store/store.ts";
import { type Change, changes, describeChanges } from "./miss.ts";

/** An earlier result of a stage, and how what is wanted differs from it. */
export interface Nearest {
  readonly manifest: Manifest;
  readonly changes: readonly Change[];
}

/**
 * The earlier result of a stage that differs least from the parts; the last of
 * equals.
 *
 * @param except The key of a result that is not wanted.
 */
export function nearest(
  pipeline: string,
  stage: string,
  parts: KeyParts,
  store: Store,
  except?: string,
): Nearest | undefined {
  let best: Nearest | undefined;
  for (const key of store.histories.read(pipeline, stage).keys) {
    if (key === except) continue;
    const found = store.manifests.read(key);
    if (found.state !== "found") continue;
    const { manifest } = found;
    const differences = changes(manifest.parts, parts, store);
    if (best === undefined || differences.length < best.changes.length) {
      best = { manifest, changes: differences };
    }
  }
  return best;
}

/** Why the cache has no result for the parts, in one line. */
export function explainMiss(
  pipeline: string,
  stage: string,
  parts: KeyParts,
  store: Store,
): string {
  const { failure } = store.histories.read(pipeline, stage);
  const found = nearest(pipeline, stage, parts, store);
  if (found !== undefined && found.changes.length > 0) {
    return describeChanges(found.changes);
  }
  return failure === undefined ? "no earlier result" : "the last run failed";
}

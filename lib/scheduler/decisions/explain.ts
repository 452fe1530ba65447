import type { Graph } from "../../pipeline/graph.ts";
import { holdOff } from "../../store/cleanup.ts";
import type { KeyParts, Manifest } from "../../store/manifest.ts";
import { type CodeHunk, codeHunks } from "../code/code_change.ts";
import { openContext, openStore, stageOf } from "../context.ts";
import { decide } from "./decide.ts";
import type { Decision } from "../events.ts";
import type { Change } from "./miss.ts";
import { nearest } from "./nearest.ts";
import type { Settings } from "../settings.ts";

/** Why a stage is where it is. */
export interface Explanation {
  readonly stage: string;
  readonly decision: Decision;
  /** All that its key is made from; absent while an input is still to be made. */
  readonly parts?: KeyParts;
  /** The nearest other result of the stage, and every difference from it. */
  readonly nearest?: {
    readonly key: string;
    /** When it was made: ISO 8601. */
    readonly started: string;
    readonly changes: readonly Change[];
    /** Where the code differs. */
    readonly code: readonly CodeHunk[];
  };
}

/**
 * Explains what is to be done with a stage, against the nearest other result
 * that it had.
 */
export async function explain(
  graph: Graph,
  id: string,
  settings: Settings,
): Promise<Explanation> {
  const store = openStore(settings);
  using _live = await holdOff(store);
  const context = await openContext(graph, [id], settings, store);
  const results = new Map<string, Manifest>();
  for (const selected of context.selected) {
    const stage = stageOf(context, selected);
    const missing = Object.values(stage.inputs).flat()
      .find((input) => !results.has(input));
    if (missing !== undefined) {
      if (selected !== id) continue;
      const reason = `needs ${missing} first`;
      return { stage: id, decision: { state: "unknown", reason } };
    }
    const decided = await decide(context, stage, results);
    if (selected !== id) {
      if ("manifest" in decided) results.set(selected, decided.manifest);
      continue;
    }
    const { decision, parts, key } = decided;
    const other = nearest(graph.pipeline, id, parts, store, key);
    return {
      stage: id,
      decision,
      parts,
      ...(other !== undefined && {
        nearest: {
          key: other.manifest.key,
          started: other.manifest.started,
          changes: other.changes,
          code: await codeHunks(
            other.manifest.parts.code,
            parts.code,
            settings.project,
            stage.module,
            store,
          ),
        },
      }),
    };
  }
  throw new RangeError(`Pipeline "${graph.pipeline}" has no stage "${id}"`);
}

import type { GraphStage } from "../../pipeline/graph.ts";
import type { KeyParts, Manifest } from "../../store/manifest.ts";
import { canonicalJson } from "../../store/canonical.ts";
import { digest } from "../../store/digest.ts";
import { type Context, stageOf } from "../context.ts";
import type { Decision } from "../events.ts";
import { keyParts } from "../keys/key.ts";
import { sourceDigest } from "../keys/source.ts";
import { difference, visibleFolder } from "../attempts/visible.ts";

/** What is to be done with a stage whose inputs are all there, and on what grounds. */
export type Decided =
  & { readonly key: string; readonly parts: KeyParts }
  & (
    | {
      readonly decision: Extract<
        Decision,
        { state: "unchanged" } | { state: "restore" }
      >;
      /** The result in the cache. */
      readonly manifest: Manifest;
    }
    | { readonly decision: Extract<Decision, { state: "run" }> }
  );

/**
 * Decides what is to be done with a stage: the same for a plan and for a run.
 *
 * @param results The results of its inputs, by stage.
 * @throws {Error} If a source does not exist.
 */
export async function decide(
  context: Context,
  stage: GraphStage,
  results: ReadonlyMap<string, Manifest>,
): Promise<Decided> {
  const { graph: { pipeline }, settings, store } = context;
  const parts = await partsOf(context, stage, results);
  const canonical = canonicalJson(parts);
  const key = digest(canonical);
  const run = (reason: string): Decided => ({
    key,
    parts,
    decision: { state: "run", key, reason },
  });
  if (settings.force.has(stage.id)) return run("forced");
  const found = await store.lookup(key, canonical);
  if (found.state === "unusable") {
    return run(`its result in the cache ${found.fault}`);
  }
  if (found.state === "none") {
    const { explainMiss } = await import("./nearest.ts");
    return run(explainMiss(pipeline, stage.id, parts, store));
  }
  const { manifest } = found;
  const lacking = stage.declaration.output.files.find((file) =>
    !manifest.files.some(({ path }) => path === file)
  );
  if (lacking !== undefined) {
    return run(`its result in the cache lacks "${lacking}"`);
  }
  const folder = visibleFolder(settings.out, pipeline, stage);
  const reason = await difference(folder, manifest.files, store);
  return {
    key,
    parts,
    manifest,
    decision: reason === undefined
      ? { state: "unchanged", key }
      : { state: "restore", key, reason },
  };
}

/** The paths that a stage's sources lie at, by parameter. */
export async function sourcePaths(
  context: Context,
  stage: GraphStage,
): Promise<Map<string, string>> {
  return await context.sources.of(stage, context.code.get(stage.module)!);
}

async function partsOf(
  context: Context,
  stage: GraphStage,
  results: ReadonlyMap<string, Manifest>,
): Promise<KeyParts> {
  const sources = await sourcePaths(context, stage);
  const contents: Record<string, string> = {};
  for (const [name, path] of sources) {
    try {
      contents[name] = await sourceDigest(path, context.store);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new Error(
        `Parameter "${name}" of stage "${stage.id}": ${error.message}`,
        { cause: error },
      );
    }
  }
  return keyParts(stage, {
    code: context.code.get(stage.module)!.listing,
    inputs: Object.fromEntries(
      Object.entries(stage.inputs).map(([name, ids]) => [
        name,
        ids.map((id) => ({
          stage: stageOf(context, id),
          manifest: results.get(id)!,
        })),
      ]),
    ),
    sources,
    contents,
    runtimes: context.runtimes,
  });
}

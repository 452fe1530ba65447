import { join } from "node:path";
import type { GraphStage } from "../../pipeline/graph.ts";
import { type Manifest, MANIFEST_VERSION } from "../../store/manifest.ts";
import { listFiles, NotAFileError, treeDigest } from "../../store/tree.ts";
import type { Measured } from "./attempt.ts";
import { dropCheckpoint } from "./checkpoints.ts";
import type { Context } from "../context.ts";
import type { Decided } from "../decisions/decide.ts";
import { StageFailure } from "../failure.ts";
import type { RunFolder } from "./run_folder.ts";
import {
  lockVisible,
  replaceFolder,
  restore,
  sweepBeside,
  visibleFolder,
} from "./visible.ts";

/**
 * Takes a stage's artifact into the cache, and then makes it visible: first the
 * contents, then the manifest that says that they are complete. Whoever looks
 * in between finds nothing, or all of it.
 *
 * @throws {StageFailure} If a declared file is missing.
 */
export async function commit(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: RunFolder,
  measured: Measured,
): Promise<Manifest> {
  const { graph: { pipeline }, store } = context;
  const paths = artifactFiles(stage, folder.output);
  const files = [];
  for (const path of paths) {
    files.push({ path, ...await store.blobs.put(join(folder.output, path)) });
  }
  for (const listing of Object.values(decided.parts.sources)) {
    await store.listings.keep(listing);
  }
  const manifest: Manifest = {
    version: MANIFEST_VERSION,
    key: decided.key,
    parts: decided.parts,
    task: stage.task,
    pipeline,
    stage: stage.id,
    runtime: `deno ${Deno.version.deno}`,
    ...measured,
    content: treeDigest(files),
    files,
    log: await store.blobs.put(folder.log),
  };
  store.manifests.write(manifest);
  dropCheckpoint(decided.key, store);
  await makeVisible(context, stage, manifest, folder.output);
  await store.noteResult(pipeline, stage.id, decided.key);
  return manifest;
}

/**
 * Makes a result visible: from its own fresh folder, or copied from the cache.
 *
 * @throws {DamagedBlobError} If the cache has lost a file of it.
 */
export async function makeVisible(
  context: Context,
  stage: GraphStage,
  manifest: Manifest,
  fresh?: string,
): Promise<void> {
  const { graph: { pipeline }, settings, store } = context;
  const folder = visibleFolder(settings.out, pipeline, stage);
  using _lock = await lockVisible(folder, store);
  sweepBeside(folder);
  if (fresh === undefined) await restore(folder, manifest, store);
  else replaceFolder(folder, fresh);
}

function artifactFiles(stage: GraphStage, folder: string): string[] {
  let paths: string[];
  try {
    paths = listFiles(folder, "refuse");
  } catch (error) {
    if (!(error instanceof NotAFileError)) throw error;
    throw new StageFailure(error.message, { cause: error });
  }
  const missing = stage.declaration.output.files
    .filter((path) => !paths.includes(path));
  if (missing.length > 0) {
    throw new StageFailure(
      `It did not write ${
        missing.map((path) => `"${path}"`).join(", ")
      }, which its task declares`,
      { code: "output-missing" },
    );
  }
  return paths;
}

import { join } from "node:path";
import type { GraphStage } from "../../pipeline/graph.ts";
import type { InputArtifact } from "../../pipeline/task.ts";
import {
  type Fingerprint,
  fingerprint,
  same,
} from "../../store/fingerprint.ts";
import type { Manifest } from "../../store/manifest.ts";
import { isCurrent } from "../code/code.ts";
import { type Context, stageOf } from "../context.ts";
import { type Decided, sourcePaths } from "../decisions/decide.ts";
import { MovedError, StageFailure } from "../failure.ts";
import { sourceDigest, sourcePrints } from "./source.ts";

/** Files that must not change while a stage runs, as they were before. */
export interface Frozen {
  /** What the stage is handed. */
  readonly inputs: Readonly<Record<string, readonly InputArtifact[]>>;
  readonly sources: ReadonlyMap<string, string>;
  /** Throws if code was changed before the stage's process had read it. */
  checkCode(): void;
  /** Throws if an input or a source was changed. */
  check(): void;
}

/**
 * Lays out the inputs of a stage in a private folder, each a read-only link to
 * the cache's own file, and makes sure that the stage's code and sources are
 * still those of its key.
 *
 * @throws {MovedError} If they are not.
 * @throws {DamagedBlobError} If the cache has lost an input.
 */
export async function freeze(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  results: ReadonlyMap<string, Manifest>,
  folder: string,
): Promise<Frozen> {
  const { store } = context;
  const inputs: Record<string, InputArtifact[]> = {};
  const linked: string[] = [];
  for (const [name, ids] of Object.entries(stage.inputs)) {
    const artifacts: InputArtifact[] = inputs[name] = [];
    for (const [i, id] of ids.entries()) {
      const manifest = results.get(id)!;
      const path = join(folder, name, String(i));
      Deno.mkdirSync(path, { recursive: true });
      for (const file of manifest.files) {
        const link = join(path, file.path);
        await store.blobs.linkTo(file.blob, link);
        linked.push(link);
      }
      artifacts.push(artifact(context, stage, name, id, manifest, path));
    }
  }
  const sources = await sourcePaths(context, stage);
  const code = context.code.get(stage.module)!;
  const before = {
    links: prints(linked, true),
    sources: [...sources.values()].flatMap(sourcePrints),
    code: prints(code.files.map(([path]) => path)),
  };
  if (!await isCurrent(code, store)) throw new MovedError("The code changed");
  for (const [name, path] of sources) {
    if (await sourceDigest(path, store) !== decided.parts.sources[name]) {
      throw new MovedError(`Source "${path}" changed`);
    }
  }
  return {
    inputs,
    sources,
    checkCode() {
      if (!equal(prints(code.files.map(([path]) => path)), before.code)) {
        throw new MovedError("The code changed");
      }
    },
    check() {
      if (!equal(prints(linked, true), before.links)) {
        throw new StageFailure(
          "An input was changed while the stage ran, so its result is not kept",
        );
      }
      if (
        !equal([...sources.values()].flatMap(sourcePrints), before.sources)
      ) {
        throw new StageFailure(
          `${
            [...sources.values()].map((path) => `"${path}"`).join(" or ")
          } was changed while the stage ran, so its result is not kept; run it again`,
        );
      }
    },
  };
}

/** An input as the task sees it: exactly what its key holds of it, and where it lies. */
function artifact(
  context: Context,
  stage: GraphStage,
  name: string,
  id: string,
  manifest: Manifest,
  path: string,
): InputArtifact {
  const { inputs, timings } = stage.declaration;
  const many = inputs[name]?.many === true;
  return {
    stage: many ? id : name,
    matrix: many ? stageOf(context, id).matrix : {},
    path,
    ...(timings && { seconds: manifest.seconds, metrics: manifest.metrics }),
  };
}

type Prints = readonly (Fingerprint | undefined)[];

function prints(paths: readonly string[], links = false): Prints {
  return paths.map((path) => {
    const print = fingerprint(path);
    // Links made and removed by other stages change the inode's own time.
    return print !== undefined && links ? { ...print, changed: 0 } : print;
  });
}

function equal(a: Prints, b: Prints): boolean {
  return a.length === b.length && a.every((print, i) => {
    const other = b[i];
    return print === undefined || other === undefined
      ? print === other
      : same(print, other);
  });
}

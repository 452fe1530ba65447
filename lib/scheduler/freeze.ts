import { basename, join, relative } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { digest } from "../store/digest.ts";
import type { Manifest } from "../store/manifests.ts";
import { type Fingerprint, fingerprint, same } from "../store/stats.ts";
import { isCurrent } from "./code.ts";
import { type Context, stageOf } from "./context.ts";
import { StageFailure, StaleKeyError } from "./failure.ts";
import {
  copySource,
  inspectSource,
  sourceDigest,
  sourcePrints,
  type Sources,
} from "./sources.ts";
import type { Decided } from "./plan.ts";
import type { RunFolder } from "./runs.ts";
import { placeOf } from "./visible.ts";

/** Fingerprints of files; undefined for those that do not exist. */
export type Prints = readonly (Fingerprint | undefined)[];

/** Folder of an input in the run folder. */
export function inputFolder(
  folder: RunFolder,
  name: string,
  index: number,
): string {
  return join(folder.inputs, name, String(index));
}

/** Lays out the inputs of a stage in its run folder, as read-only hard links to blobs. */
export async function layOut(
  context: Context,
  stage: GraphStage,
  results: ReadonlyMap<string, Manifest>,
  folder: RunFolder,
): Promise<{ inputs: Record<string, InputArtifact[]>; links: string[] }> {
  const inputs: Record<string, InputArtifact[]> = {};
  const links: string[] = [];
  for (const [name, ids] of Object.entries(stage.inputs)) {
    const artifacts: InputArtifact[] = inputs[name] = [];
    for (const [i, id] of ids.entries()) {
      const manifest = results.get(id)!;
      const path = inputFolder(folder, name, i);
      Deno.mkdirSync(path, { recursive: true });
      for (const file of manifest.files) {
        const link = join(path, file.path);
        await context.store.blobs.linkTo(file.blob, link);
        links.push(relative(folder.path, link));
      }
      artifacts.push(artifact(context, stage, name, id, manifest, path));
    }
  }
  return { inputs, links };
}

/** Files that must not change while a stage runs, with their fingerprints. */
interface Freeze {
  /** The inputs, relative to the run folder. */
  readonly links: readonly string[];
  /** Names of the sources of which the stage gets copies. */
  readonly copied: readonly string[];
  /** Names of the sources whose metadata might not show a change. */
  readonly doubtful: readonly string[];
  /** Files of the runtimes that it needs. */
  readonly files: readonly string[];
  /** Fingerprints before the start: of the inputs, of the runtimes' files, of the files of each source, and of the code. */
  readonly before: {
    readonly links: Prints;
    readonly files: Prints;
    readonly sources: Readonly<Record<string, Prints>>;
    readonly code: Prints;
  };
}

/**
 * Checks that code and sources are still those of a stage's key. A source that
 * a process has open for writing may change and change back without a trace, so
 * the stage gets a copy, and the copy is compared with the key. Other sources
 * whose metadata might not show a change are read again after the stage.
 *
 * @throws {StaleKeyError} If they are not.
 */
export async function compare(
  context: Context,
  stage: GraphStage,
  { parts, sources }: Decided,
  folder: RunFolder,
  { links, files }: Pick<Freeze, "links" | "files">,
): Promise<Freeze> {
  const { store } = context;
  const before = {
    links: linkPrints(folder, links),
    sources: Object.fromEntries(
      [...sources].map(([name, path]) => [name, sourcePrints(path)]),
    ),
    code: await currentCode(context, stage),
    files: files.map(fingerprint),
  };
  const copied: string[] = [];
  const doubtful: string[] = [];
  for (const [name, path] of sources) {
    const seen = await inspectSource(path, store);
    let content = seen.digest;
    if (seen.written) {
      const copy = await copySource(path, copyFolder(folder, name));
      copied.push(name);
      content = await sourceDigest(copy, store);
    } else if (!seen.settled) doubtful.push(name);
    if (content !== parts.sources[name]) {
      throw new StaleKeyError(`source "${path}" changed`);
    }
  }
  return { links, files, copied, doubtful, before };
}

/** Folder of the copy of a source. */
function copyFolder(folder: RunFolder, name: string): string {
  return join(folder.sources, digest(name).slice(0, 8));
}

// Without the ctime, which changes when other stages create or remove links.
function linkPrints(folder: RunFolder, links: readonly string[]): Prints {
  return links.map((path) => fingerprint(join(folder.path, path)))
    .map((print) => print && { ...print, changed: 0 });
}

function codePrints(context: Context, stage: GraphStage): Prints {
  return codeFiles(context, stage).map(fingerprint);
}

/** The files of a stage's code; some may not exist. */
export function codeFiles(
  { code }: Context,
  { module }: GraphStage,
): string[] {
  return code.get(module)!.files.map(([path]) => path);
}

/**
 * Fingerprints of the code that a stage's key was computed from.
 *
 * @throws {StaleKeyError} If it has changed since.
 */
async function currentCode(
  context: Context,
  stage: GraphStage,
): Promise<Prints> {
  const prints = codePrints(context, stage);
  if (!await isCurrent(context.code.get(stage.module)!, context.store)) {
    throw new StaleKeyError("code changed");
  }
  return prints;
}

/** Files that must not change while a stage runs. */
export interface Frozen {
  /** Paths at which the stage finds its sources. */
  readonly paths: Sources;
  /** Fingerprints of the sources' files. */
  readonly sources: Prints;
  /** Throws if code changed before the stage's process had read it. */
  checkCode(): void;
  /** Throws if an input, a source or a file of a runtime changed. */
  check(): Promise<void>;
}

/** Compares the files of a stage with their fingerprints before its start. */
export function watch(
  context: Context,
  stage: GraphStage,
  { parts, sources }: Decided,
  folder: RunFolder,
  { links, files, copied, doubtful, before }: Freeze,
): Frozen {
  return {
    paths: new Map(
      [...sources].map(([name, path]) => [
        name,
        copied.includes(name)
          ? join(copyFolder(folder, name), basename(path))
          : path,
      ]),
    ),
    sources: Object.values(before.sources).flat(),
    checkCode() {
      if (!equal(codePrints(context, stage), before.code)) {
        throw new StaleKeyError("code changed");
      }
    },
    async check() {
      const file = files.find((path, i) =>
        !equal([fingerprint(path)], [before.files[i]])
      );
      if (file !== undefined) {
        throw new StageFailure(
          `"${file}" was changed while the stage ran, so its result is discarded; run it again`,
        );
      }
      if (!equal(linkPrints(folder, links), before.links)) {
        throw new StageFailure(
          "An input was changed while the stage ran, so its result is discarded; run it again",
        );
      }
      const changed: string[] = [];
      for (const [name, path] of sources) {
        // A copy cannot change.
        if (copied.includes(name)) continue;
        const isChanged = !equal(sourcePrints(path), before.sources[name]!) ||
          doubtful.includes(name) &&
            (await inspectSource(path, context.store)).digest !==
              parts.sources[name];
        if (isChanged) changed.push(`"${path}"`);
      }
      if (changed.length > 0) {
        throw new StageFailure(
          `${
            changed.join(" and ")
          } was changed while the stage ran, so its result is discarded; run it again`,
        );
      }
    },
  };
}

/** An input as the task sees it: its part of the key, and its path. */
function artifact(
  context: Context,
  stage: GraphStage,
  name: string,
  id: string,
  manifest: Manifest,
  path: string,
): InputArtifact {
  const { inputs, timings, places } = stage.declaration;
  const many = inputs[name]?.many === true;
  return {
    stage: many ? id : name,
    matrix: many ? stageOf(context, id).matrix : {},
    path,
    ...(timings && { seconds: manifest.seconds, metrics: manifest.metrics }),
    ...(places && { place: placeOf(context, { id }) }),
  };
}

function equal(a: Prints, b: Prints): boolean {
  return a.length === b.length && a.every((print, i) => {
    const other = b[i];
    return print === undefined || other === undefined
      ? print === other
      : same(print, other);
  });
}

import type { GraphStage } from "../pipeline/graph.ts";
import type { InputPart, KeyParts, Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";
import type { Runtime } from "./settings.ts";
import { sourceDigest, type Sources, withoutSources } from "./sources.ts";

/** The data that a stage's key is computed from, besides the stage. */
interface KeySources {
  /** Digest of the task's bundle. */
  readonly code: string;
  /** Absolute paths of the sources, by the dot path of the parameter. */
  readonly sources: Sources;
  /** The stages connected to each input and their results, in order. */
  readonly inputs: Readonly<Record<string, readonly ConnectedResult[]>>;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly store: Store;
}

/** A stage connected to an input of another, and its result. */
interface ConnectedResult {
  readonly stage: GraphStage;
  readonly manifest: Manifest;
}

/**
 * Everything that the result of a stage depends on. These are not part of it:
 * times, the stage's name, paths, and resources
 * (except for processors where results depend on the number of threads).
 *
 * @throws {Error} If a source does not exist.
 */
export async function keyParts(
  stage: GraphStage,
  from: KeySources,
): Promise<KeyParts> {
  const { declaration, params, resources } = stage;
  return {
    code: from.code,
    params: withoutSources(params, from.sources),
    sources: await sourceContents(stage, from.sources, from.store),
    inputs: Object.fromEntries(
      Object.entries(from.inputs).map(([name, results]) => {
        const many = declaration.inputs[name]?.many === true;
        return [
          name,
          results.map((result) => inputPart(result, many, declaration.timings)),
        ];
      }),
    ),
    runtimes: Object.fromEntries(
      declaration.needs.map((name) => {
        const { identity, threaded } = from.runtimes.get(name)!;
        const { cpus } = resources;
        const threads = cpus === 1 ? "1 thread" : `${cpus} threads`;
        return [name, threaded ? `${identity}, ${threads}` : identity];
      }),
    ),
  };
}

/**
 * The part of an input contains only what the task sees of it. The stage's id
 * is visible for inputs that take many artifacts only, so renaming a stage
 * rarely makes others run.
 */
function inputPart(
  { stage, manifest }: ConnectedResult,
  many: boolean,
  timings: boolean,
): InputPart {
  return {
    content: manifest.content,
    ...(many && { stage: stage.id, matrix: stage.matrix }),
    ...(timings && { seconds: manifest.seconds, metrics: manifest.metrics }),
  };
}

async function sourceContents(
  stage: GraphStage,
  sources: Sources,
  store: Store,
): Promise<Record<string, string>> {
  const contents: Record<string, string> = {};
  for (const [name, path] of sources) {
    try {
      contents[name] = await sourceDigest(path, store);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new Error(
        `Parameter "${name}" of stage "${stage.id}": ${error.message}`,
        { cause: error },
      );
    }
  }
  return contents;
}

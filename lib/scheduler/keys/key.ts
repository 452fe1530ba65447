import type { GraphStage } from "../../pipeline/graph.ts";
import type { InputPart, KeyParts, Manifest } from "../../store/manifest.ts";
import type { Runtime } from "../events.ts";
import { withoutSources } from "./source.ts";

/** What a stage's key is made from, besides the stage. */
export interface KeySources {
  /** Digest of the listing of the task's code. */
  readonly code: string;
  /** Results of the stages connected to each input, in their order. */
  readonly inputs: Readonly<Record<string, readonly ConnectedResult[]>>;
  /** Absolute paths by parameter. */
  readonly sources: ReadonlyMap<string, string>;
  /** Digests of what these hold. */
  readonly contents: Readonly<Record<string, string>>;
  readonly runtimes: ReadonlyMap<string, Runtime>;
}

/** The result of a stage, connected to an input of another. */
export interface ConnectedResult {
  readonly stage: GraphStage;
  readonly manifest: Manifest;
}

/**
 * All that the result of a stage depends on. Paths, times, the stage's own name,
 * flags of the engine and its resources are none of it, but for the processors
 * where the order of sums depends on them.
 */
export function keyParts(stage: GraphStage, from: KeySources): KeyParts {
  const { declaration, task, params } = stage;
  return {
    code: from.code,
    params: withoutSources(params, from.sources) as KeyParts["params"],
    sources: from.contents,
    inputs: Object.fromEntries(
      Object.entries(from.inputs).map(([name, results]) => [
        name,
        results.map((result) =>
          inputPart(
            result,
            declaration.inputs[name]?.many === true,
            declaration.timings,
          )
        ),
      ]),
    ),
    runtimes: Object.fromEntries(
      declaration.needs.map((name) => {
        const runtime = from.runtimes.get(name);
        if (runtime === undefined) {
          throw new Error(
            `Task "${task}" needs "${name}", which this program does not have`,
          );
        }
        const { identity, threaded } = runtime;
        return [
          name,
          threaded ? `${identity}, ${threads(stage)}` : identity,
        ];
      }),
    ),
  };
}

/**
 * What the key holds of an input is what the task can see of it. Only one of
 * many is told apart by its stage, so renaming a stage is seldom a reason to
 * run what reads it.
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

function threads({ resources: { cpus } }: GraphStage): string {
  return cpus === 1 ? "1 thread" : `${cpus} threads`;
}

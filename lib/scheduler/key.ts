import type { GraphStage } from "../pipeline/graph.ts";
import type { InputPart, KeyParts, Manifest } from "../store/manifests.ts";
import { type Context, stageOf } from "./context.ts";
import { sourceDigest, type Sources, withoutSources } from "./sources.ts";

/**
 * Everything that the result of a stage depends on. These are not part of it:
 * times, the stage's name, paths, and resources (except for processors where
 * results depend on the number of threads).
 *
 * @param sources Its sources, whose contents take the place of their paths.
 * @param results Results of its inputs, by stage.
 * @throws {Error} If a source does not exist.
 */
export async function keyParts(
  context: Context,
  stage: GraphStage,
  sources: Sources,
  results: ReadonlyMap<string, Manifest>,
): Promise<KeyParts> {
  const { declaration, module, params, resources: { cpus } } = stage;
  return {
    code: context.code.get(module)!.bundle,
    params: withoutSources(params, sources),
    sources: await sourceContents(context, stage, sources),
    inputs: Object.fromEntries(
      Object.entries(stage.inputs).map(([name, ids]) => {
        const many = declaration.inputs[name]?.many === true;
        return [
          name,
          ids.map((id) => inputPart(context, stage, id, many, results)),
        ];
      }),
    ),
    runtimes: Object.fromEntries(
      declaration.needs.map((name) => {
        const { identity, threaded } = context.runtimes.get(name)!;
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
  context: Context,
  { declaration: { timings } }: GraphStage,
  id: string,
  many: boolean,
  results: ReadonlyMap<string, Manifest>,
): InputPart {
  const { content, seconds, metrics, machine } = results.get(id)!;
  return {
    content,
    ...(many && { stage: id, matrix: stageOf(context, id).matrix }),
    ...(timings && { seconds, metrics }),
    ...(timings && machine !== undefined && { machine }),
  };
}

async function sourceContents(
  { store }: Context,
  stage: GraphStage,
  sources: Sources,
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

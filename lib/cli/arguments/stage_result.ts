/** Commands that read the result of a stage: by its key, with the parameters and the engine of the command line. */
import type { Graph, GraphStage } from "../../pipeline/graph.ts";
import { NoResultError } from "../../scheduler/failure.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { KEY_OPTIONS } from "./options.ts";

/**
 * The stage among those selected that makes an adapter.
 *
 * @param pattern The argument that selected them, for messages.
 * @param kinds Kinds of artifacts that count as adapters.
 * @throws {UsageError} If there is none, or more than one.
 */
export function adapterStage(
  graph: Graph,
  selected: readonly string[],
  pattern: string,
  kinds: readonly string[],
): GraphStage {
  const [stage, other] = selected.map((id) => graph.stages.get(id)!)
    .filter(({ declaration }) => kinds.includes(declaration.output.kind));
  if (stage === undefined) {
    throw new UsageError(`"${pattern}" selects no stage that makes an adapter`);
  }
  if (other === undefined) return stage;
  throw new UsageError(
    `"${pattern}" selects more than one adapter: "${stage.id}", "${other.id}"; name one of them`,
  );
}

/**
 * Does work that reads the result of a stage.
 *
 * @throws {Error} If the stage has no result. The message has the command that
 * makes it.
 */
export async function needingResult<T>(
  args: Arguments,
  stage: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof NoResultError)) throw error;
    throw new Error(
      `${error.message}: run it with "${
        stageCommand("pipeline", args, stage)
      }"`,
      { cause: error },
    );
  }
}

/** A command on a stage with the parameters and the engine of these arguments. */
export function stageCommand(
  command: string,
  args: Arguments,
  stage: string,
): string {
  const options = KEY_OPTIONS.flatMap(({ name, short }) =>
    args.values(name).flatMap((value) => [
      short === undefined ? `--${name}` : `-${short}`,
      value,
    ])
  );
  return ["deno", "task", command, args.positionals[0]!, stage, ...options]
    .map(quoted).join(" ");
}

/** A word of a command line, quoted for sh, bash, zsh and fish if it must be. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word)
    ? word
    : `'${word.replaceAll("'", `'\\''`)}'`;
}

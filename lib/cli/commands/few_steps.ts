/**
 * Warns of trainings on the user's files that have few steps, before anything
 * runs.
 */
import { canonicalJson } from "../../files/digest.ts";
import { statIfThere } from "../../files/files.ts";
import { resolve } from "../../files/paths.ts";
import type { Graph, GraphStage } from "../../pipeline/graph.ts";
import { selectStages } from "../../scheduler/context.ts";
import type { Store } from "../../store/store.ts";
import type { Arguments } from "../arguments/arguments.ts";
import { PROJECT, withSetting } from "../arguments/options.ts";
import { count } from "../terminal/messages.ts";
import { dataOf } from "./pipeline_outcome.ts";

/**
 * Steps below which an adapter may have learnt little: one for texts copies its
 * prompt.
 */
const MIN_STEPS = 300;

/** Parameters of a training that its number of steps depends on. */
interface StepSettings {
  readonly epochs: number;
  /** Examples of a forward and backward pass. */
  readonly batchSize: number;
  /** Passes of a step; one by default. */
  readonly accumulation?: number;
}

/**
 * Parameters of the task `fetch-data` that the number of examples depends on.
 */
interface FileSettings {
  readonly files: {
    readonly train: string;
    readonly validation?: string | null;
  };
  readonly encoding: string;
  /** Fraction that is held out if there is no file for validation. */
  readonly holdout?: number | null;
}

/** Steps of an epoch, the last one perhaps with fewer examples. */
function stepsOfEpoch(examples: number, batch: number): number {
  return Math.max(1, Math.ceil(examples / batch));
}

/**
 * The fewest epochs that have enough steps, and these steps.
 *
 * @param batch Examples of a step
 */
export function epochsFor(
  examples: number,
  batch: number,
): { readonly epochs: number; readonly steps: number } {
  const each = stepsOfEpoch(examples, batch);
  const epochs = Math.ceil(MIN_STEPS / each);
  return { epochs, steps: each * epochs };
}

/**
 * Sentences on trainings with few steps, each with the command that gives them
 * more. Left out are trainings on data of the hub, whose rows are not known
 * yet, and those that have run with the same parameters.
 *
 * @param targets Ids of stages; all stages if empty.
 * @param command The command that the user has called.
 */
export async function fewSteps(
  { graph, selected, store }: {
    readonly graph: Graph;
    readonly selected: readonly string[];
    readonly store: Store;
  },
  command: string,
  args: Arguments,
): Promise<string[]> {
  const warned = new Map<string, string[]>();
  const rows = new Map<string, number | undefined>();
  for (const id of selectStages(graph, selected)) {
    const training = graph.stages.get(id)!;
    const settings = training.params as Partial<StepSettings>;
    const { epochs, batchSize, accumulation = 1 } = settings;
    const isTraining = epochs !== undefined && batchSize !== undefined;
    if (!isTraining || hasRun(training, graph, store)) continue;
    const data = dataOf(training, graph);
    if (data?.task !== "fetch-data") continue;
    if (!rows.has(data.id)) rows.set(data.id, await trainingRows(data));
    const examples = rows.get(data.id);
    if (examples === undefined) continue;
    const batch = batchSize * accumulation;
    const steps = epochs * stepsOfEpoch(examples, batch);
    if (steps >= MIN_STEPS) continue;
    const enough = epochsFor(examples, batch);
    const text = withSetting(
      `takes about ${count(steps, "step")}: ${count(epochs, "epoch")} of ${
        count(examples, "row")
      } in batches of ${batch}. With so few it may learn little; ${
        count(enough.epochs, "epoch")
      } make about ${enough.steps}.`,
      { name: "training.epochs", value: String(enough.epochs) },
      command,
      args,
    );
    warned.set(text, [...warned.get(text) ?? [], id]);
  }
  return [...warned].map(([text, [first, ...others]]) => {
    const more = others.length === 0
      ? ""
      : ` (as ${count(others.length, "other training")})`;
    return `${first}${more} ${text}`;
  });
}

function hasRun(
  { id, params }: GraphStage,
  { pipeline }: Graph,
  store: Store,
): boolean {
  const canonical = canonicalJson(params);
  return store.results(pipeline, id)
    .some(({ parts }) => canonicalJson(parts.params) === canonical);
}

/**
 * Rows of a file that are trained on, as far as they are known before it is
 * read as the stage reads it: rows without a label, or repeated ones, count.
 *
 * @returns Undefined of data of the hub, and of a file that is missing or
 * invalid, for which the stage has an error.
 */
async function trainingRows(
  { params }: GraphStage,
): Promise<number | undefined> {
  const { isDataSource } = await import("../../hub/data_source.ts");
  const { expandHome } = await import("../../hub/model_source.ts");
  const { files, encoding, holdout } = params as Partial<FileSettings>;
  if (files === undefined || isDataSource(files.train)) return undefined;
  const path = resolve(PROJECT, expandHome(files.train));
  if (statIfThere(path) === undefined) return undefined;
  const { readTable } = await import("../../data/table.ts");
  try {
    const { length } = await readTable(path, [], [], { encoding });
    const held = files.validation ? 0 : holdout ?? 0;
    return Math.max(1, Math.floor(length * (1 - held)));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}

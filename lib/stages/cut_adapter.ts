import { isDeepStrictEqual } from "node:util";
import {
  type Adapter,
  type AdapterTensors,
  readAdapter,
  tensorsOf,
} from "../artifacts/adapter.ts";
import {
  checkRank,
  type Choice,
  moduleOf,
  type ModuleRanks,
  modulesOf,
  readRanks,
} from "../artifacts/ranks.ts";
import {
  type AdapterRecord,
  type Epoch,
  trainedAs,
} from "../artifacts/training.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import {
  type RecommendationRequest,
  recommendedRank,
} from "./recommended_rank.ts";

/** What of an adapter is taken. */
export interface CutSettings extends RecommendationRequest {
  /** Of every module; by default the adapter's own. */
  readonly rank?: number | "recommended" | undefined;
}

/** An adapter, and the part of it that was asked for. */
export interface CutAdapter {
  readonly adapter: Adapter;
  readonly ranks: ModuleRanks;
  /** The tensors of the epoch, each module at its rank. */
  readonly tensors: Readonly<Record<string, TensorValues>>;
}

/**
 * Reads a stage's adapter at the rank that its parameters, its input `report`
 * or its input `ranks` ask for.
 *
 * @throws {TypeError} If they contradict each other, or do not belong to the adapter.
 * @throws {RangeError} If a rank is beyond the adapter's own.
 */
export async function readCutAdapter(
  { params, inputs }: Pick<Stage<CutSettings>, "params" | "inputs">,
): Promise<CutAdapter> {
  const only = (name: string): InputArtifact | undefined => inputs[name]?.[0];
  const adapter = await readAdapter(only("adapter")!.path);
  const ranks = await askedRanks(adapter, {
    ...params,
    report: only("report"),
    ranks: only("ranks"),
  });
  const tensors = cutTensors(tensorsOf(adapter, params.epoch), ranks);
  return { adapter, ranks, tensors };
}

/** How a stage is told which ranks to take. */
interface RankRequest extends RecommendationRequest {
  /** Of every module; by default the adapter's own. */
  readonly rank?: number | "recommended" | undefined;
  /** The report that recommends it. */
  readonly report: InputArtifact | undefined;
  /** Ranks by module, in place of one for all. */
  readonly ranks: InputArtifact | undefined;
}

/**
 * The rank at which each module of an adapter is to be taken.
 *
 * @throws {TypeError} If the request contradicts itself, or its inputs do not belong to the adapter.
 * @throws {RangeError} If a rank is beyond the adapter's own.
 */
async function askedRanks(
  { training, tensors }: Pick<Adapter, "training" | "tensors">,
  request: RankRequest,
): Promise<ModuleRanks> {
  const { rank, report, ranks, epoch } = request;
  const modules = modulesOf(Object.keys(tensors));
  if ((rank === "recommended") !== (report !== undefined)) {
    throw new TypeError(
      rank === "recommended"
        ? '"rank: recommended" needs the input "report": connect a stage of report'
        : 'The input "report" is of use with "rank: recommended" only',
    );
  }
  for (const name of ["variant", "split"] as const) {
    if (rank === "recommended" || request[name] === undefined) continue;
    throw new TypeError(
      `The parameter "${name}" is of use with "rank: recommended" only`,
    );
  }
  if (ranks !== undefined) {
    if (rank !== undefined) {
      throw new TypeError(
        'Give either the parameter "rank" or the input "ranks", not both',
      );
    }
    return await ranksByModule(ranks, { training, epoch, modules });
  }
  const one = report === undefined
    ? rank as number | undefined ?? training.rank
    : await recommendedRank(report.path, training, request);
  checkRank(one, training.rank);
  return new Map(modules.map((module) => [module, one]));
}

/** The adapter that ranks by module are to be applied to. */
interface RankedAdapter {
  readonly training: AdapterRecord;
  /** Of its two, the one that is taken. */
  readonly epoch: Epoch;
  readonly modules: readonly string[];
}

/**
 * Reads ranks by module for an adapter.
 *
 * @throws {TypeError} If they were chosen for another adapter, or name other modules.
 * @throws {RangeError} If a rank is beyond the adapter's own.
 */
async function ranksByModule(
  { path }: InputArtifact,
  { training, epoch, modules }: RankedAdapter,
): Promise<ModuleRanks> {
  const { task, method, rank } = training;
  const chosen = await readRanks(path);
  if (chosen.task !== task || chosen.method !== method) {
    throw new TypeError(
      `The ranks were chosen for ${chosen.method} on "${chosen.task}", but the adapter is ${method} on "${task}"`,
    );
  }
  if (chosen.choice !== null) checkChoice(chosen.choice, training, epoch);
  const strangers = new Set(chosen.modules.keys()).symmetricDifference(
    new Set(modules),
  );
  if (strangers.size > 0) {
    throw new TypeError(
      `The ranks and the adapter do not name the same modules: "${
        [...strangers][0]
      }" is in one of them only`,
    );
  }
  for (const [module, own] of chosen.modules) checkRank(own, rank, module);
  return chosen.modules;
}

/**
 * Makes sure that ranks were chosen for this very adapter: those of another
 * training, or of another epoch of it, say nothing about this one.
 */
function checkChoice(
  choice: Choice,
  training: AdapterRecord,
  epoch: Epoch,
): void {
  const theirs = { seed: choice.seed, epoch: choice.epoch, ...choice.trained };
  const ours = { seed: training.seed, epoch, ...trainedAs(training) };
  for (const [what, own] of Object.entries(ours)) {
    const other = theirs[what as keyof typeof theirs];
    if (isDeepStrictEqual(own, other)) continue;
    throw new TypeError(
      `The ranks were chosen for an adapter of ${what} ${
        JSON.stringify(other)
      }, but this one is of ${what} ${
        JSON.stringify(own)
      }: connect the ranks that were chosen for it`,
    );
  }
}

/**
 * The tensors with each module cut to its rank: the first rows of `lora_A`,
 * the first columns of `lora_B`. The head stays as it is.
 *
 * @throws {RangeError} If a module has no rank, or fewer rows than that.
 */
function cutTensors(
  tensors: AdapterTensors,
  ranks: ModuleRanks,
): Record<string, TensorValues> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const module = moduleOf(name);
      if (module === undefined) return [name, tensor];
      const rank = ranks.get(module);
      if (rank === undefined) throw new RangeError(`"${module}" has no rank`);
      const cut = name.includes(".lora_A.") ? firstRows : firstColumns;
      return [name, cut(tensor, rank, module)];
    }),
  );
}

function firstRows(
  { shape, values }: TensorValues,
  count: number,
  module: string,
): TensorValues {
  const [rows, columns] = shape as [number, number];
  checkRank(count, rows, module);
  return {
    shape: [count, columns],
    values: values.slice(0, count * columns),
  };
}

function firstColumns(
  { shape, values }: TensorValues,
  count: number,
  module: string,
): TensorValues {
  const [rows, columns] = shape as [number, number];
  checkRank(count, columns, module);
  const cut = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    cut.set(values.subarray(start, start + count), row * count);
  }
  return { shape: [rows, count], values: cut };
}

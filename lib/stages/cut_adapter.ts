import { isDeepStrictEqual } from "node:util";
import {
  type Adapter,
  type AdapterTensors,
  readAdapter,
  tensorsOf,
} from "../artifacts/adapter.ts";
import {
  checkServed,
  type ModuleRanks,
  readRanks,
} from "../artifacts/ranks.ts";
import { trainedAs } from "../artifacts/training.ts";
import { moduleOf, modulesOf } from "../engine/adapters/peft.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import {
  type RecommendationRequest,
  recommendedRank,
} from "./recommended_rank.ts";

/** Parameters that select the rank of an adapter. */
interface RankSettings extends RecommendationRequest {
  /** Rank of every module; by default the recommended one if there is a report, else the adapter's own. */
  readonly rank?: number | "recommended" | undefined;
}

/** An adapter, cut to the requested ranks. */
export interface CutAdapter {
  readonly adapter: Adapter;
  readonly ranks: ModuleRanks;
  /** Tensors of the requested epoch, each module cut to its rank. */
  readonly tensors: Readonly<Record<string, TensorValues>>;
}

/**
 * Reads the adapter of a stage, cut to the rank that its parameters, its input
 * `report` or its input `ranks` select.
 *
 * @throws {Error} If these contradict each other, belong to another adapter, or exceed its rank.
 */
export async function readCutAdapter(
  stage: Pick<Stage<RankSettings>, "params" | "inputs" | "log">,
): Promise<CutAdapter> {
  const { epoch } = stage.params;
  const adapter = await readAdapter(stage.inputs.adapter![0]!.path);
  const ranks = await requestedRanks(adapter, stage);
  return { adapter, ranks, tensors: cut(tensorsOf(adapter, epoch), ranks) };
}

async function requestedRanks(
  adapter: Adapter,
  { params, inputs, log }: Pick<
    Stage<RankSettings>,
    "params" | "inputs" | "log"
  >,
): Promise<ModuleRanks> {
  const report = inputs.report?.[0];
  const ranks = inputs.ranks?.[0];
  const rank = params.rank ??
    (report === undefined || ranks !== undefined ? undefined : "recommended");
  if (rank === "recommended" && report === undefined) {
    throw new RangeError(
      '"rank: recommended" requires the input "report": connect a stage of the task "report"',
    );
  }
  if (report === undefined) {
    const unused = (["variant", "split"] as const)
      .find((name) => params[name] !== undefined);
    if (unused !== undefined) {
      throw new RangeError(
        `The parameter "${unused}" requires "rank: recommended" and the input "report": connect a stage of the task "report"`,
      );
    }
  }
  if (ranks !== undefined) {
    if (rank !== undefined) {
      throw new RangeError(
        'The parameter "rank" and the input "ranks" exclude each other: remove one of them',
      );
    }
    return await ranksByModule(ranks, adapter, params);
  }
  const { training } = adapter;
  let one = rank ?? training.rank;
  if (one === "recommended") {
    const found = await recommendedRank(report!.path, training, params);
    if (found.caution !== undefined) log(found.caution);
    one = found.rank;
  }
  checkServed(one, training);
  const modules = modulesOf(Object.keys(adapter.tensors));
  return new Map(modules.map((module) => [module, one]));
}

/** Reads an artifact of kind `ranks` and checks that it was made for an adapter. */
async function ranksByModule(
  { path }: InputArtifact,
  { training, tensors }: Adapter,
  { epoch }: RankSettings,
): Promise<ModuleRanks> {
  const { task, method, modules: ranks, choice } = await readRanks(path);
  if (task !== training.task || method !== training.method) {
    throw new Error(
      `The ranks were chosen for ${method} on "${task}", but the adapter is ${training.method} on "${training.task}"`,
    );
  }
  if (choice !== null) {
    const theirs = {
      seed: choice.seed,
      epoch: choice.epoch,
      ...choice.trained,
    };
    const ours = { seed: training.seed, epoch, ...trainedAs(training) };
    for (const [field, own] of Object.entries(ours)) {
      const other = theirs[field as keyof typeof theirs];
      if (isDeepStrictEqual(own, other)) continue;
      throw new Error(
        `The ranks were chosen for an adapter with ${field} ${
          JSON.stringify(other)
        }, but this adapter has ${field} ${
          JSON.stringify(own)
        }: connect the ranks that were chosen for it`,
      );
    }
  }
  const modules = new Set(modulesOf(Object.keys(tensors)));
  const [odd] = new Set(ranks.keys()).symmetricDifference(modules);
  if (odd !== undefined) {
    throw new Error(
      `The ranks and the adapter have different modules: "${odd}" is only in the ${
        modules.has(odd) ? "adapter" : "ranks"
      }`,
    );
  }
  for (const [module, rank] of ranks) {
    if (rank <= training.rank) continue;
    throw new RangeError(
      `Rank ${rank} of "${module}" exceeds the adapter's rank ${training.rank}; choose a rank from 1 to ${training.rank}`,
    );
  }
  return ranks;
}

/** Keeps the first rows of each `lora_A` and the first columns of each `lora_B`; the head is unchanged. */
function cut(
  tensors: AdapterTensors,
  ranks: ModuleRanks,
): Record<string, TensorValues> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const module = moduleOf(name);
      if (module === undefined) return [name, tensor];
      const rank = ranks.get(module)!;
      return [
        name,
        name.includes(".lora_A.")
          ? firstRows(tensor, rank)
          : firstColumns(tensor, rank),
      ];
    }),
  );
}

function firstRows(
  { shape, values }: TensorValues,
  count: number,
): TensorValues {
  const columns = shape[1]!;
  return { shape: [count, columns], values: values.slice(0, count * columns) };
}

function firstColumns(
  { shape, values }: TensorValues,
  count: number,
): TensorValues {
  const [rows, columns] = shape as [number, number];
  const cut = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    cut.set(values.subarray(start, start + count), row * count);
  }
  return { shape: [rows, count], values: cut };
}

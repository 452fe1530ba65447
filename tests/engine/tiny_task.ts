import { assertRejects } from "@std/assert";
import { join } from "node:path";
import type { AdapterScale } from "../../lib/engine/adapters/scale.ts";
import {
  dylora,
  type DyloraSettings,
} from "../../lib/engine/schedules/dylora.ts";
import { fixed } from "../../lib/engine/schedules/fixed.ts";
import { matryoshka } from "../../lib/engine/schedules/matryoshka.ts";
import type { RankObjective } from "../../lib/engine/schedules/schedule.ts";
import {
  type Classifier,
  loadClassifier,
} from "../../lib/engine/models/classifier.ts";
import { startValues } from "../../lib/engine/models/parameters.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import type { LabelledExamples } from "../../lib/data/example.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../lib/engine/training/checkpoint.ts";
import type {
  TrainingHooks,
  TrainingOptions,
} from "../../lib/engine/training/train.ts";
import { openReference } from "./reference.ts";

/** What adapters on query and value are, at this rank. */
export function queryAndValue(rank: number) {
  return { rank, targetModules: ["query", "value"] } as const;
}

/** DyLoRA's objective with the defaults of its settings, up to rank 8 with alpha 16. */
export function dyloraObjective(
  given: Partial<DyloraSettings & AdapterScale> = {},
): RankObjective {
  const params = {
    ...{
      mode: "all",
      scope: "model",
      sortAt: 0,
      sourceRanks: [] as number[],
    } as const,
    ...{ sampler: { kind: "uniform" }, scaling: "rank" } as const,
    ...{ rank: 8, alpha: 16 },
    ...given,
  };
  return dylora.objective(params, params);
}

export function loraObjective(rank: number, alpha: number): RankObjective {
  return fixed.objective({}, { rank, alpha, scaling: fixed.scaling });
}

export function matryoshkaObjective(
  objective: "losses" | "outputs",
  rank: number,
  alpha: number,
  ranks?: number[],
): RankObjective {
  const { scaling } = matryoshka;
  return matryoshka.objective({ objective, ranks }, { rank, alpha, scaling });
}

/** Of models that only train: a trace of one layer costs half of that of two. */
export const ONE_LAYER = { num_hidden_layers: 1 };

/** The tiny RoBERTa, cut to its first layer, with adapters and a head of two labels. */
export function tinyClassifier(
  rank = 8,
): { classifier: Classifier; initial: Float32Array } {
  const { model, file } = openReference("roberta", ONE_LAYER);
  const classifier = loadClassifier(file, model, 2, queryAndValue(rank));
  return { classifier, initial: startValues(file, classifier, 0) };
}

/** Values at the start of training moved at random, so that B of the adapters is not zero. */
export function withAdapters(initial: Float32Array): Float32Array {
  const random = seededRandom(1, "parameters");
  return initial.map((value) => value + 0.1 * (random.next() - 0.5));
}

/** Examples with a pattern: the label says whether token 40 occurs. */
export function tinyExamples(count: number): LabelledExamples {
  const random = seededRandom(5, "examples");
  const ids: number[] = [];
  const offsets = [0];
  const labels: number[] = [];
  for (let i = 0; i < count; i++) {
    const label = Number(random.next() < 0.5);
    const length = 3 + Math.floor(random.next() * 20);
    const body = Array.from(
      { length },
      () => 50 + Math.floor(random.next() * 100),
    );
    if (label === 1) body[Math.floor(random.next() * length)] = 40;
    ids.push(0, ...body, 2);
    offsets.push(ids.length);
    labels.push(label);
  }
  return {
    ids: Int32Array.from(ids),
    types: new Uint8Array(ids.length),
    offsets: Int32Array.from(offsets),
    index: Int32Array.from({ length: count }, (_, i) => i),
    labels: Float32Array.from(labels),
  };
}

/**
 * The result of a training that is interrupted at its third checkpoint, and goes
 * on from there.
 *
 * @param run Trains with these hooks.
 */
export async function resumedTraining<T>(
  run: (
    hooks: Pick<
      TrainingHooks,
      "resume" | "signal" | "checkpointSeconds" | "save"
    >,
  ) => Promise<T>,
): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "training.safetensors");
    const interrupt = new AbortController();
    let saves = 0;
    const save = (checkpoint: Checkpoint) => {
      saveCheckpoint(path, checkpoint);
      saves++;
      if (saves === 3) interrupt.abort(new Error("Interrupted"));
    };
    const { signal } = interrupt;
    await assertRejects(
      () => run({ signal, checkpointSeconds: 0, save }),
      Error,
      "Interrupted",
    );
    return await run({ resume: loadCheckpoint(path) });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export const tinyOptions: TrainingOptions = {
  objective: dyloraObjective(),
  epochs: 3,
  batchSize: 8,
  accumulation: 1,
  learningRate: 5e-3,
  warmupRatio: 0.06,
  optimizer: {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0.1,
    clipNorm: 1,
  },
  loss: "cross-entropy",
  dropout: true,
  seed: 0,
};

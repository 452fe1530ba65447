import * as tf from "@tensorflow/tfjs-core";
import { writeRanks } from "../artifacts/ranks.ts";
import { readFittingTokens, readTokens } from "../artifacts/tokens.ts";
import type { EncodedExamples } from "../data/example.ts";
import type { Classifier } from "../engine/models/classifier.ts";
import {
  parameterLayout,
  type TargetModules,
} from "../engine/models/parameters.ts";
import { peftName } from "../engine/models/peft.ts";
import { TensorPass } from "../engine/models/tensor_pass.ts";
import {
  batchesByLength,
  batchTensors,
  exampleCount,
  padBatch,
} from "../engine/training/batch.ts";
import { yieldToEvents } from "../engine/training/progress.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import {
  geloraRanks,
  intrinsicDimension,
} from "../ranks/intrinsic_dimension.ts";
import { loadFolder, startStageEngine } from "./load_classifier.ts";

/** Estimates a rank for each module of a model by the intrinsic dimensions of its hidden states, without training. */
export async function estimateRanks(
  stage: Stage<
    {
      readonly split: string;
      readonly examples: number;
      readonly maxRank?: number | undefined;
      readonly targetModules?: TargetModules | undefined;
      readonly batchSize: number;
    },
    Readonly<Record<"model" | "tokens", InputArtifact>>
  >,
): Promise<void> {
  const { params, inputs: { model: { path }, tokens } } = stage;
  const info = await readFittingTokens(tokens.path, path);
  const examples = readTokens(tokens.path, info, params.split);
  const order = distinctExamples(examples, params.examples);
  // Distances of neighbours are small differences of large values.
  await startStageEngine({ ...stage, params: { precision: "f32" } });
  const classifier = loadFolder(path, 1, "head");
  const { model } = classifier;
  const batches = batchesByLength(examples, order, params.batchSize);
  const points: Float32Array[][] = [];
  let done = 0;
  for (const indices of batches) {
    await yieldToEvents();
    stage.signal.throwIfAborted();
    points.push(await meanStates(classifier, examples, indices));
    stage.progress(done += indices.length, order.length, "examples");
  }
  const dimensions = points[0]!.map((_, layer) => {
    const all = points.flatMap((of) => [...of[layer]!]);
    return intrinsicDimension(
      Float32Array.from(all),
      all.length / order.length,
    );
  });
  const { targetModules } = params;
  const { modules } = parameterLayout(model, 1, { rank: 1, targetModules });
  const names = modules.map(({ name }) => name);
  const ranks = geloraRanks(model, names, dimensions)
    .map((rank) => Math.min(rank, params.maxRank ?? rank));
  stage.log(
    `Intrinsic dimensions ${
      dimensions.map((it) => it.toFixed(1)).join(", ")
    } of ${order.length} examples of ${params.split}: ranks ${
      ranks.join(", ")
    }`,
  );
  await writeRanks(stage.output, {
    task: info.task,
    method: null,
    modules: new Map(names.map((name, i) => [peftName(name), ranks[i]!])),
    dimensions,
    choice: null,
  });
}

/** Numbers of examples with different tokens, evenly spaced, since equal ones are one point. */
function distinctExamples(
  examples: EncodedExamples,
  most: number,
): number[] {
  const { ids, offsets } = examples;
  const byTokens = new Map(
    Array.from(
      { length: exampleCount(examples) },
      (_, i) => [ids.subarray(offsets[i], offsets[i + 1]).join(), i] as const,
    ),
  );
  const distinct = [...byTokens.values()];
  const { length } = distinct;
  const count = Math.min(most, length);
  return Array.from(
    { length: count },
    (_, i) => distinct[Math.floor(i * length / count)]!,
  );
}

/** Hidden states of the embeddings and of each layer, without adapters: means over the tokens of each example, `[examples, hidden]`. */
async function meanStates(
  classifier: Classifier,
  examples: EncodedExamples,
  indices: readonly number[],
): Promise<Float32Array[]> {
  const batch = padBatch(examples, indices, classifier.model);
  const [sequences, seq] = batch.shape;
  const means = tf.tidy(() => {
    const input = batchTensors(batch);
    const isToken = tf.reshape(input.mask ?? tf.ones(batch.shape), [
      sequences,
      1,
      seq,
    ]);
    const share = tf.div(isToken, tf.sum(isToken, 2, true));
    const found: tf.Tensor[] = [];
    classifier.model.encoder(
      new TensorPass({
        ...classifier,
        parameters: {},
        input,
        ranks: {
          scale: tf.zeros([1, 0]) as tf.Tensor2D,
          gradientMask: tf.zeros([0]) as tf.Tensor1D,
        },
        observe: (x) =>
          found.push(tf.matMul(share, tf.reshape(x, [sequences, seq, -1]))),
      }),
    );
    return found;
  });
  const values = await Promise.all(means.map((it) => it.data<"float32">()));
  tf.dispose(means);
  return values;
}

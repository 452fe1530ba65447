import { assert, assertEquals } from "@std/assert";
import "../engine.ts";
import type { LabelledExamples } from "../../../lib/data/example.ts";
import {
  type Classifier,
  loadClassifier,
} from "../../../lib/engine/models/classifier.ts";
import { startValues } from "../../../lib/engine/models/parameters.ts";
import { withPooling } from "../../../lib/engine/models/pooling.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import { batchTensors, padBatch } from "../../../lib/engine/training/batch.ts";
import { train } from "../../../lib/engine/training/train.ts";
import {
  relevantPositions,
  retrievalScores,
} from "../../../lib/problems/retrieval_metrics.ts";
import { logitsAt, ranksAt } from "../logits.ts";
import { openReference } from "../reference.ts";
import { loraObjective, queryAndValue, tinyOptions } from "../tiny_task.ts";

const RANK = 4;
const PAIRS = 48;

/** Pairs of texts that share the token that counts, each among others. */
function pairs(): LabelledExamples {
  const random = seededRandom(3, "pairs");
  const other = () => 100 + Math.floor(random.next() * 50);
  const ids: number[] = [];
  const offsets = [0];
  for (let sequence = 0; sequence < 2 * PAIRS; sequence++) {
    const shared = 20 + Math.floor(sequence / 2);
    ids.push(0, other(), shared, other(), 2);
    offsets.push(ids.length);
  }
  return {
    ids: Int32Array.from(ids),
    types: new Uint8Array(ids.length),
    offsets: Int32Array.from(offsets),
    sequencesPerExample: 2,
    index: Int32Array.from({ length: PAIRS }, (_, i) => i),
    labels: Float32Array.from({ length: 2 * PAIRS }, (_, i) => i),
    width: 2,
  };
}

/** MRR@10 of each pair's first text among the second texts. */
async function meanReciprocalRank(
  classifier: Classifier,
  values: Float32Array,
  examples: LabelledExamples,
): Promise<number> {
  const { model } = classifier;
  const all = Array.from({ length: PAIRS }, (_, i) => i);
  const input = batchTensors(padBatch(examples, all, model));
  const ranks = ranksAt([RANK], 16, RANK);
  const outputs = await logitsAt(classifier, values, input, ranks);
  const embedding = (sequence: number) =>
    outputs.slice(sequence * model.hidden, (sequence + 1) * model.hidden);
  const cosine = (a: Float32Array, b: Float32Array) =>
    a.reduce((sum, it, i) => sum + it * b[i]!, 0) /
    (Math.hypot(...a) * Math.hypot(...b));
  const positions = all.map((pair) => {
    const query = embedding(2 * pair);
    const similarities = all.map((it) => cosine(query, embedding(2 * it + 1)));
    return relevantPositions(similarities, [pair]);
  });
  const scores = retrievalScores("mrr@10", positions);
  return scores.reduce((sum, it) => sum + it, 0) / PAIRS;
}

Deno.test("train() brings pairs near each other by negatives within the batch, with adapters alone on a model whose tokens are pooled", async () => {
  const { model, file } = openReference("roberta");
  const pooled = withPooling(model, "mean");
  const classifier = loadClassifier(
    file,
    pooled,
    model.hidden,
    queryAndValue(RANK),
  );
  const initial = startValues(file, classifier, 0);
  const examples = pairs();
  const losses: number[] = [];
  const { values } = await train(classifier, initial, examples, {
    ...tinyOptions,
    objective: loraObjective(RANK, 16),
    epochs: 30,
    batchSize: 16,
    learningRate: 1e-2,
    loss: "multiple-negatives-ranking",
    dropout: false,
  }, { report: ({ loss }) => losses.push(loss) });
  assertEquals(values.length, initial.length);
  const before = await meanReciprocalRank(classifier, initial, examples);
  const after = await meanReciprocalRank(classifier, values, examples);
  assert(losses.at(-1)! < losses[0]! / 2, `losses ${losses}`);
  assert(after > before + 0.1, `MRR@10 from ${before} to ${after}`);
});

import { writeEmbeddings } from "../artifacts/embeddings.ts";
import { MODEL_FILES, readPooling } from "../artifacts/model.ts";
import { tokenizerDefaults } from "../engine/models/registry.ts";
import { methodName, provenanceOf } from "../engine/schedules/registry.ts";
import { findModelFiles } from "../hub/model_source.ts";
import { afterEpoch } from "../peft/adapter.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { problemOf } from "../problems/registry.ts";
import { ModelTokenizer } from "../text/model_tokenizer.ts";
import { type CuttingStage, requestedRank } from "./cut_adapter.ts";
import { loadAdapter, logitsAt, type Ready } from "./load_classifier.ts";
import { adapterIn } from "./predict.ts";
import type { UsageSettings } from "./settings.ts";

/** Texts per forward pass. */
const BATCH = 32;

type EmbeddingStage = CuttingStage<
  { readonly model: InputArtifact },
  & Pick<UsageSettings, "precision">
  & { readonly texts: readonly string[] }
>;

/**
 * Embeds the texts of a stage with its adapter at one rank, and writes an
 * artifact of kind `embeddings`.
 */
export async function embed(stage: EmbeddingStage): Promise<void> {
  const { params, inputs } = stage;
  const model = inputs.model.path;
  findModelFiles(model, MODEL_FILES, []);
  const adapter = await adapterIn(inputs.adapter.path, model);
  const { training } = adapter;
  const problem = problemOf(training);
  if (problem.head !== "embedding") {
    throw new RangeError(
      `The adapter gives no embeddings, but is for ${
        problem.inWords(training.task)
      }: use the task classify, or deno task predict`,
    );
  }
  const { rank, recommended } = await requestedRank(adapter, stage, true);
  const used = afterEpoch(adapter, params.epoch);
  const ready = await loadAdapter(stage, model, used);
  const { normalizes } = readPooling(model);
  const outputs = await pooledAt(rank, stage, ready, training.maxLength);
  await writeEmbeddings(stage.output, {
    task: training.task,
    method: methodName(provenanceOf(training)),
    rank,
    recommended,
    precision: ready.precision,
    normalizes,
    texts: params.texts.length,
    width: ready.classifier.model.hidden,
    values: normalizes
      ? normalized(outputs, ready.classifier.model.hidden)
      : outputs,
  });
}

/**
 * What the model gives for the texts of a stage, before it is normalized,
 * `[texts, hidden]`.
 *
 * @param trainedLength Tokens to which the texts of the training were
 * truncated; null if unknown
 */
async function pooledAt(
  rank: number,
  stage: EmbeddingStage,
  ready: Ready,
  trainedLength: number | null,
): Promise<Float32Array> {
  const { architecture, maxLength, vocabSize } = ready.classifier.model;
  const defaults = tokenizerDefaults(architecture);
  const length = Math.min(maxLength, trainedLength ?? maxLength);
  const tokenizer = await ModelTokenizer.load(ready.folder, defaults, length);
  const texts = stage.params.texts.map((text, index) => ({ text, index }));
  const [examples] = tokenizer.encodeAll(texts, vocabSize);
  const at = { ranks: [rank], batchSize: BATCH };
  return await logitsAt(stage, ready, examples, at, "texts");
}

/** Smallest norm by which an embedding is divided, as in PyTorch. */
const LEAST_NORM = 1e-12;

/** Rows divided by their norms, `[rows, width]`, flat. */
function normalized(values: Float32Array, width: number): Float32Array {
  const result = values.slice();
  for (let start = 0; start < values.length; start += width) {
    const row = result.subarray(start, start + width);
    const norm = Math.sqrt(row.reduce((sum, it) => sum + it * it, 0));
    const divisor = Math.max(norm, LEAST_NORM);
    for (let i = 0; i < width; i++) row[i] = row[i]! / divisor;
  }
  return result;
}

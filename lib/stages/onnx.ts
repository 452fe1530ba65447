import { join } from "@std/path/posix/join";
import { readFittingTokens } from "../artifacts/tokens.ts";
import type { TargetModules } from "../engine/models/parameters.ts";
import { writeClassifierGraph } from "../onnx/classifier_graph.ts";
import {
  writeMergedModel,
  writeServedModel,
  type WrittenModel,
} from "../onnx/export.ts";
import type { Precision } from "../onnx/graph_weights.ts";
import { onnxLogits } from "../onnx/logits.ts";
import { PRECISIONS } from "../onnx/usage.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { checkSameLabels, problemOf } from "../problems/registry.ts";
import { metricInWords, percent } from "../report/format.ts";
import {
  type CutAdapter,
  type CuttingStage,
  mergedTensors,
  readCutAdapter,
} from "./cut_adapter.ts";
import { writeModelCard } from "./model_card.ts";
import { readScoredSplit } from "./scored_split.ts";

/** A stage that exports to ONNX. */
type OnnxStage = CuttingStage<
  { readonly model: InputArtifact; readonly tokens: InputArtifact | undefined },
  {
    readonly merged: boolean;
    readonly dtype: Precision;
    readonly targetModules?: TargetModules | undefined;
  }
>;

/**
 * Writes an artifact of kind `onnx`: a model that serves every rank with its
 * adapter beside it, or with `merged` a classifier at one rank for
 * transformers.js.
 *
 * @param runtime The file of onnxruntime's WebAssembly
 */
export async function exportOnnx(
  stage: OnnxStage,
  runtime: string,
): Promise<void> {
  const { params, inputs, output } = stage;
  const { merged, dtype, targetModules } = params;
  const cut = await readCutAdapter(stage);
  const { adapter, rank } = cut;
  const { name, head } = problemOf(adapter.training);
  if (head === "language") {
    throw new RangeError(
      `An adapter for "problem: ${name}" is not exported in ONNX: export it for PEFT`,
    );
  }
  const folder = inputs.model.path;
  const source = { ...adapter, folder, dtype };
  const written = merged
    ? await writeMergedModel(output, {
      ...source,
      tensors: mergedTensors(folder, cut),
    })
    : await writeServedModel(output, source, rank, targetModules);
  await writeModelCard(stage, cut, {
    usage: written.usage,
    notes: await lossInWords(stage, written, cut, runtime),
  });
  const what = merged ? `Merged at rank ${rank}` : "For every rank";
  stage.log(`${what}, ${PRECISIONS[dtype]}`);
}

/**
 * What a smaller type costs on the labelled examples of the tokens; nothing if
 * there are none.
 */
async function lossInWords(
  { params, inputs, checkpoint, ...stage }: OnnxStage,
  written: WrittenModel,
  { adapter: { training }, rank }: CutAdapter,
  runtime: string,
): Promise<string[]> {
  const { dtype, split } = params;
  if (inputs.tokens === undefined || dtype === "fp32") return [];
  const folder = inputs.tokens.path;
  const info = await readFittingTokens(folder, inputs.model.path);
  checkSameLabels(training, info);
  const scored = readScoredSplit(folder, info, split ?? "validation");
  const { evaluated, examples, problem, name } = scored;
  const count = examples.words
    ? examples.labels.length
    : problem.units(examples.labels);
  const sequences = evaluated.offsets.length - 1;
  const whole = join(checkpoint, "model.onnx");
  writeClassifierGraph(whole, written.graph);
  const { model, output } = written.graph;
  const isEmbedding = output === "sentence_embedding";
  let smaller = written.path;
  if (params.merged && isEmbedding) {
    // What was written leaves the pooling to others.
    smaller = join(checkpoint, "smaller.onnx");
    writeClassifierGraph(smaller, { ...written.graph, precision: dtype });
  }
  const resultOf = async (path: string, done: number) => {
    const outputs = await onnxLogits(
      { ...written, path },
      evaluated,
      isEmbedding ? model.hidden : problem.outputs,
      runtime,
      (more) => stage.progress(done + more, 2 * sequences, "sequences"),
    );
    const logits = scored.logitsOf(1, outputs);
    const { metrics } = scored.score([rank], logits)[0]!;
    return { metrics, predictions: problem.predictions(logits) };
  };
  const before = await resultOf(whole, 0);
  const after = await resultOf(smaller, sequences);
  const scores = Object.entries(before.metrics).map(([metric, value]) => {
    const now = percent(after.metrics[metric]!);
    return `${metricInWords(metric)} ${now} (${percent(value)} in float32)`;
  }).join(", ");
  const { threshold } = problem;
  const decided = (prediction: number) =>
    threshold === undefined ? prediction : Number(prediction >= threshold);
  const differ = Array.from(before.predictions)
    .filter((it, i) => decided(it) !== decided(after.predictions[i]!)).length;
  const unit = examples.words ? "words" : "examples";
  const what = threshold === undefined ? "classes" : "labels";
  const classes = problem.classes.length > 0
    ? ` ${differ} ${what} differ.`
    : "";
  const line =
    `On the ${count} ${unit} of the split ${name}, in percent: ${scores}.${classes}`;
  stage.log(line);
  return ["## Accuracy after quantization", line];
}

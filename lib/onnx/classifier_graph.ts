import { forward, type Model } from "../engine/models/model.ts";
import { headTensors } from "../engine/models/outline.ts";
import { Graph } from "./graph.ts";
import type { Precision, WeightOptions } from "./graph_weights.ts";
import { writeOnnx } from "./model_file.ts";
import { OnnxPass } from "./onnx_pass.ts";

/**
 * What a graph gives: float32 `[batch, labels]`, of tokens
 * `[batch, sequence, labels]`; of a sentence encoder `[batch, hidden]`, before
 * it is normalized, or the states of all tokens, `[batch, sequence, hidden]`.
 */
export type GraphOutput = "logits" | "sentence_embedding" | "last_hidden_state";

/** A classifier as a graph of ONNX. */
export interface ClassifierGraph extends Pick<WeightOptions, "read"> {
  readonly model: Model;
  readonly precision?: Precision;
  /**
   * What is part of the graph: the encoder alone, or with the head of this many
   * labels. In the former, the tensors of the head are inputs, and so are, by
   * PEFT's names, the factors of adapters on `modules`, with the scale of each
   * row ({@linkcode scaleInput}). Their ranks are up to what is given.
   */
  readonly head: number | { readonly modules: readonly string[] };
  /** Name of the output, "logits" by default. */
  readonly output?: GraphOutput;
}

/**
 * Writes a classifier as a model of ONNX. Its inputs are `input_ids`,
 * `attention_mask` and, where the tokenizer gives token types,
 * `token_type_ids`, int64 `[batch, sequence]`; its output is a
 * {@linkcode GraphOutput}. Sequences are padded on the right.
 *
 * @param path The file; weights of more than about 2 GB, or `maxInside` bytes,
 * go to `PATH_data`
 */
export function writeClassifierGraph(
  path: string,
  { model, precision = "fp32", head, output = "logits", read }: ClassifierGraph,
  maxInside?: number,
): void {
  const isWhole = typeof head === "number";
  const labels = isWhole ? head : 1;
  const ofHead = headTensors(model, labels)
    .map(({ name, shape }) => [name, shape] as const);
  const last = ofHead.at(-1)?.[0].replace(/\w+$/, "");
  const headInputs = ofHead.map(([name, shape]) => {
    const isLast = name.startsWith(last!);
    return [name, isLast ? ["labels", ...shape.slice(1)] : shape] as const;
  });
  const graph = new Graph();
  const pass = new OnnxPass(graph, {
    model,
    precision,
    adapted: new Set(isWhole ? [] : head.modules),
    headInputs: new Map(isWhole ? [] : headInputs),
    shapes: new Map([...model.tensors, ...(isWhole ? ofHead : [])]),
    read,
  });
  const { name: result } = forward(model, pass, labels);
  const value = precision === "fp16" ? graph.cast(result, "float32") : result;
  const ofClasses = isWhole ? labels : "labels";
  const width = output === "logits" ? ofClasses : model.hidden;
  if (model.head === "tokens" || output === "last_hidden_state") {
    const shape = ["batch", "sequence", width];
    graph.output({ name: output, type: "float32", shape }, "Identity", [value]);
  } else {
    const shape = ["batch", width];
    const axis = graph.ints([1]);
    graph.output({ name: output, type: "float32", shape }, "Squeeze", [
      value,
      axis,
    ]);
  }
  writeOnnx(path, graph, maxInside);
}

import type { EncoderConfig } from "./config.ts";
import { headOffsets, type ParameterLayout } from "./parameters.ts";

/** Where a tensor of the classification head lies in the flat parameter vector. */
export interface HeadTensor {
  /** As transformers names it in a model for the classification of sequences. */
  readonly name: string;
  readonly shape: readonly [number, number] | readonly [number];
  readonly offset: number;
}

/** The tensors of the head: of RoBERTa its own two layers, of BERT the pooler and its own. */
export function headTensors(
  layout: ParameterLayout,
  architecture: EncoderConfig["architecture"],
): HeadTensor[] {
  const { hidden, labels } = layout;
  const { dense, denseBias, out, outBias } = headOffsets(layout);
  const [denseName, outName] = architecture === "roberta"
    ? ["classifier.dense", "classifier.out_proj"]
    : ["bert.pooler.dense", "classifier"];
  return [
    { name: `${denseName}.weight`, shape: [hidden, hidden], offset: dense },
    { name: `${denseName}.bias`, shape: [hidden], offset: denseBias },
    { name: `${outName}.weight`, shape: [labels, hidden], offset: out },
    { name: `${outName}.bias`, shape: [labels], offset: outBias },
  ];
}

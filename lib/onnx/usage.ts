import type { Pooling } from "../engine/models/pooling.ts";
import type { GraphOutput } from "./classifier_graph.ts";
import type { Precision } from "./graph_weights.ts";

/**
 * What a model card says that was exported, and how it is used. In the code,
 * `"FOLDER"` stands for the folder of the export.
 */
export interface Usage {
  /** Library, as the hub names it. */
  readonly library: string;
  readonly what: string;
  /** Code in JavaScript and in Python that runs it. */
  readonly code: string;
}

/** Files of a merged model, by which transformers.js tells how it is stored. */
export const MERGED_FILES: Readonly<Record<Precision, string>> = {
  fp32: "model.onnx",
  fp16: "model_fp16.onnx",
  q8: "model_quantized.onnx",
};

/** How a model is stored, in words. */
export const PRECISIONS: Readonly<Record<Precision, string>> = {
  fp32: "in float32",
  fp16: "in float16, weights and activations",
  q8:
    "with weights in 8 bits, a scale for each output, and activations in 8 bits, a scale for each batch",
};

/**
 * Runs an export for every rank at one of them, by lib/serve.
 *
 * @param isEmbedding Whether it is a sentence encoder
 */
export function servedScript(
  rank: number,
  isEmbedding: boolean,
  folder = "FOLDER",
): string {
  if (isEmbedding) {
    return block("js", [
      'import { load } from "./lib/serve/embedder.ts";',
      `const embed = await load("${folder}", { rank: ${rank} });`,
      'console.log(await embed(["A text"]));',
    ]);
  }
  return block("js", [
    'import { load } from "./lib/serve/classifier.ts";',
    `const classify = await load("${folder}", { rank: ${rank} });`,
    'console.log(await classify(["A text"]));',
  ]);
}

/**
 * An export for every rank, used at one of them, which may have a head of its
 * own.
 */
export function servedUse(
  dtype: Precision,
  rank: number,
  hasHeads: boolean,
  isEmbedding: boolean,
): Usage {
  const python = block("python", [
    "import json, numpy, onnxruntime",
    "from safetensors.numpy import load_file",
    "from transformers import AutoTokenizer",
    `folder, rank = "FOLDER", ${rank}`,
    'scale = json.load(open(f"{folder}/adapter.json"))["scales"][str(rank)]',
    'adapter = load_file(f"{folder}/adapter.safetensors")',
    ...hasHeads
      ? [
        'own = f"{rank}."',
        "adapter |= {",
        "    name.removeprefix(own): tensor",
        "    for name, tensor in adapter.items() if name.startswith(own)",
        "}",
      ]
      : [],
    "inputs = {}",
    "for name, tensor in adapter.items():",
    '    if ".lora_A." in name:',
    "        tensor = tensor[:rank]",
    '        scales = name.replace("A.weight", "scale")',
    "        inputs[scales] = numpy.full(len(tensor), scale, tensor.dtype)",
    '    inputs[name] = tensor[:, :rank] if ".lora_B." in name else tensor',
    ...run(
      "inputs",
      "model.onnx",
      isEmbedding ? "sentence_embedding" : "logits",
    ),
  ]);
  return {
    library: "onnx",
    what: `A model of [ONNX](https://onnx.ai), ${
      PRECISIONS[dtype]
    }, whose inputs are the factors of an adapter, and that adapter`,
    code: `${servedScript(rank, isEmbedding)}\n\n${python}`,
  };
}

/**
 * A merged export.
 *
 * @param task Of transformers.js: `text-classification`
 * @param hasLabels Whether a text may have several labels, of which the most
 * probable one says too little
 */
export function mergedUse(
  dtype: Precision,
  task: string,
  hasLabels: boolean,
): Usage {
  const options = hasLabels ? ", { top_k: null }" : "";
  const script = block("js", [
    'import { pipeline } from "@huggingface/transformers";',
    `const classify = await pipeline("${task}", "FOLDER");`,
    `console.log(await classify("A text"${options}));`,
  ]);
  const python = block("python", [
    "import onnxruntime",
    "from transformers import AutoTokenizer",
    'folder = "FOLDER"',
    ...run("{}", `onnx/${MERGED_FILES[dtype]}`, "logits"),
  ]);
  return mergedUsage(dtype, [script, python]);
}

/**
 * A merged export of a sentence encoder, whose tokens are pooled by who uses
 * it.
 */
export function mergedEmbeddingUse(
  dtype: Precision,
  { mode, normalizes }: Pooling,
): Usage {
  const options = `{ pooling: "${
    JS_POOLING[mode]
  }", normalize: ${normalizes} }`;
  const script = block("js", [
    'import { pipeline } from "@huggingface/transformers";',
    'const embed = await pipeline("feature-extraction", "FOLDER");',
    `console.log((await embed("A text", ${options})).tolist());`,
  ]);
  const python = block("python", [
    "import numpy, onnxruntime",
    "from transformers import AutoTokenizer",
    'folder = "FOLDER"',
    ...answer("{}", `onnx/${MERGED_FILES[dtype]}`, "last_hidden_state"),
    'mask = feed["attention_mask"][..., None]',
    `embeddings = ${PYTHON_POOLING[mode]}`,
    ...normalizes
      ? ["embeddings /= numpy.linalg.norm(embeddings, axis=1, keepdims=True)"]
      : [],
    "print(embeddings)",
  ]);
  return mergedUsage(dtype, [script, python]);
}

/** How transformers.js calls a pooling. */
const JS_POOLING: Readonly<Record<Pooling["mode"], string>> = {
  mean: "mean",
  cls: "cls",
  lasttoken: "last_token",
};

/** A pooling of `result`, `[texts, tokens, hidden]`, padded on the right. */
const PYTHON_POOLING: Readonly<Record<Pooling["mode"], string>> = {
  mean: "(result * mask).sum(axis=1) / mask.sum(axis=1)",
  cls: "result[:, 0]",
  lasttoken: "result[range(len(result)), mask.sum(axis=(1, 2)) - 1]",
};

function mergedUsage(dtype: Precision, code: readonly string[]): Usage {
  return {
    library: "transformers.js",
    what:
      `A model for [transformers.js](https://github.com/huggingface/transformers.js), ${
        PRECISIONS[dtype]
      }, with an adapter merged into it`,
    code: code.join("\n\n"),
  };
}

/** Lines of Python that print what a model gives for a text. */
function run(inputs: string, file: string, output: GraphOutput): string[] {
  return [...answer(inputs, file, output), "print(result)"];
}

/**
 * Lines of Python with the `result` of a text.
 *
 * @param inputs Further inputs of the model, in Python
 */
function answer(inputs: string, file: string, output: GraphOutput): string[] {
  return [
    "tokenizer = AutoTokenizer.from_pretrained(folder)",
    `feed = {**${inputs}, **tokenizer(["A text"], return_tensors="np")}`,
    `session = onnxruntime.InferenceSession(f"{folder}/${file}")`,
    "taken = {it.name: feed[it.name] for it in session.get_inputs()}",
    `result = session.run(["${output}"], taken)[0]`,
  ];
}

function block(language: string, lines: readonly string[]): string {
  return ["```" + language, ...lines, "```"].join("\n");
}

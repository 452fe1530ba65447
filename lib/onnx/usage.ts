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

/** Runs an export for every rank at one of them, by lib/serve. */
export function servedScript(rank: number, folder = "FOLDER"): string {
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
    ...run("inputs", "model.onnx"),
  ]);
  return {
    library: "onnx",
    what: `A model of [ONNX](https://onnx.ai), ${
      PRECISIONS[dtype]
    }, whose inputs are the factors of an adapter, and that adapter`,
    code: `${servedScript(rank)}\n\n${python}`,
  };
}

/**
 * A merged export.
 *
 * @param task Of transformers.js: `text-classification`
 */
export function mergedUse(dtype: Precision, task: string): Usage {
  const script = block("js", [
    'import { pipeline } from "@huggingface/transformers";',
    `const classify = await pipeline("${task}", "FOLDER");`,
    'console.log(await classify("A text"));',
  ]);
  const python = block("python", [
    "import onnxruntime",
    "from transformers import AutoTokenizer",
    'folder = "FOLDER"',
    ...run("{}", `onnx/${MERGED_FILES[dtype]}`),
  ]);
  return {
    library: "transformers.js",
    what:
      `A model for [transformers.js](https://github.com/huggingface/transformers.js), ${
        PRECISIONS[dtype]
      }, with an adapter merged into it`,
    code: `${script}\n\n${python}`,
  };
}

/** Lines of Python that print the logits of a text, given further inputs. */
function run(inputs: string, file: string): string[] {
  return [
    "tokenizer = AutoTokenizer.from_pretrained(folder)",
    `feed = {**${inputs}, **tokenizer(["A text"], return_tensors="np")}`,
    `session = onnxruntime.InferenceSession(f"{folder}/${file}")`,
    "taken = [it.name for it in session.get_inputs()]",
    'print(session.run(["logits"], {name: feed[name] for name in taken})[0])',
  ];
}

function block(language: string, lines: readonly string[]): string {
  return ["```" + language, ...lines, "```"].join("\n");
}

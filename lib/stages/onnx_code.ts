/** Code for model cards that runs an export to ONNX, in JavaScript and in Python. `"FOLDER"` stands for its folder. */

/** Runs an export for every rank at one of them, by lib/serve. */
export function servedScript(rank: number, folder = "FOLDER"): string {
  return block("js", [
    'import { load } from "./lib/serve/classifier.ts";',
    `const classify = await load("${folder}", { rank: ${rank} });`,
    'console.log(await classify(["A text"]));',
  ]);
}

export function servedCode(rank: number): string {
  const python = block("python", [
    "import json, numpy, onnxruntime",
    "from safetensors.numpy import load_file",
    "from transformers import AutoTokenizer",
    `folder, rank = "FOLDER", ${rank}`,
    'scale = json.load(open(f"{folder}/adapter.json"))["scales"][str(rank)]',
    "inputs = {}",
    'for name, tensor in load_file(f"{folder}/adapter.safetensors").items():',
    '    if ".lora_A." in name:',
    "        tensor = tensor[:rank]",
    '        scales = name.replace("A.weight", "scale")',
    "        inputs[scales] = numpy.full(len(tensor), scale, tensor.dtype)",
    '    inputs[name] = tensor[:, :rank] if ".lora_B." in name else tensor',
    ...run("inputs", "model.onnx"),
  ]);
  return `${servedScript(rank)}\n\n${python}`;
}

/**
 * Runs a merged export, by transformers.js.
 *
 * @param file Path of the model in its folder
 */
export function mergedCode(file: string): string {
  const script = block("js", [
    'import { pipeline } from "@huggingface/transformers";',
    'const classify = await pipeline("text-classification", "FOLDER");',
    'console.log(await classify("A text"));',
  ]);
  const python = block("python", [
    "import onnxruntime",
    "from transformers import AutoTokenizer",
    'folder = "FOLDER"',
    ...run("{}", file),
  ]);
  return `${script}\n\n${python}`;
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

import type { ProblemFields } from "../problems/problem.ts";
import { problemOf } from "../problems/registry.ts";

/** What the code that loads an exported adapter depends on. */
export interface Loading extends ProblemFields {
  /**
   * Folder of the base model; undefined to let PEFT find the one that the
   * adapter's configuration names.
   */
  readonly base?: string | undefined;
  /**
   * Whether the model may be a classifier with another number of outputs, which
   * transformers refuses by default.
   */
  readonly hasOtherClasses?: boolean;
}

/** Stands for its folder in the code of an exported adapter's model card. */
export const FOLDER = "FOLDER";

/**
 * What the card says of it, for those who have the folder; `push` puts the
 * repository in its place.
 */
export const FOLDER_NOTE =
  `\`${FOLDER}\` is this folder, or the name of its repository on the hub.`;

/**
 * The Python code that loads the adapter in a folder, or in its repository, and
 * its tokenizer. PEFT keeps no classes.
 */
export function pythonCode(
  folder: string,
  { base, hasOtherClasses, ...labelled }: Loading,
): string {
  const { pythonOptions, autoClass, head } = problemOf(labelled);
  if (head === "embedding") return sentenceCode(folder, base);
  const options = [
    pythonOptions,
    hasOtherClasses ? "ignore_mismatched_sizes=True" : "",
  ].map((it) => it && `    ${it},\n`).join("");
  return base === undefined
    ? `from peft import AutoPeftModelFor${autoClass}
from transformers import AutoTokenizer
folder = ${JSON.stringify(folder)}
model = AutoPeftModelFor${autoClass}.from_pretrained(
    folder,
${options})
tokenizer = AutoTokenizer.from_pretrained(folder)`
    : `from peft import PeftModel
from transformers import AutoModelFor${autoClass}, AutoTokenizer
folder = ${JSON.stringify(folder)}
base = AutoModelFor${autoClass}.from_pretrained(
    ${JSON.stringify(base)},
${options})
model = PeftModel.from_pretrained(base, folder)
tokenizer = AutoTokenizer.from_pretrained(folder)`;
}

/**
 * The Python code that loads the adapter of a sentence encoder in a folder, or
 * in its repository.
 */
function sentenceCode(folder: string, base: string | undefined): string {
  return base === undefined
    ? `from sentence_transformers import SentenceTransformer
folder = ${JSON.stringify(folder)}
model = SentenceTransformer(folder)`
    : `from sentence_transformers import SentenceTransformer
folder = ${JSON.stringify(folder)}
model = SentenceTransformer(${JSON.stringify(base)})
model.load_adapter(folder)`;
}

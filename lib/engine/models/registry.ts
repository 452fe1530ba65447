import * as z from "zod";
import { parseJson } from "../../data/text_file.ts";
import type { TokenizerClass } from "../../text/tokenizer_files.ts";
import { albert } from "./albert.ts";
import { bert } from "./bert.ts";
import { debertaV2 } from "./deberta_v2.ts";
import { distilbert } from "./distilbert.ts";
import { electra } from "./electra.ts";
import { llama, mistral, qwen2, qwen3 } from "./llama.ts";
import type { Architecture, Model } from "./model.ts";
import { modernbert } from "./modernbert.ts";
import { mpnet } from "./mpnet.ts";
import { modelOf } from "./outline.ts";
import { camembert, roberta, xlmRoberta } from "./roberta.ts";

/** Every architecture that the engine computes. */
export const ARCHITECTURES: readonly Architecture[] = [
  bert,
  roberta,
  xlmRoberta,
  camembert,
  distilbert,
  electra,
  mpnet,
  modernbert,
  debertaV2,
  albert,
  llama,
  mistral,
  qwen2,
  qwen3,
];

/** What the classes of all architectures make of the files of a tokenizer. */
const TOKENIZER_CLASSES: Readonly<Record<string, TokenizerClass>> = Object
  .assign({}, ...ARCHITECTURES.map(({ tokenizer }) => tokenizer.classes));

/**
 * What an architecture says about its tokenizer, with the classes that a model
 * may name instead of its own.
 */
export function tokenizerDefaults({ tokenizer }: Architecture) {
  return { ...tokenizer, classes: TOKENIZER_CLASSES };
}

/** `config.json` of any supported architecture. */
const KnownConfig = z.looseObject({
  model_type: z.enum(ARCHITECTURES.map(({ type }) => type) as [string], {
    error: ({ input }) =>
      `Model type ${JSON.stringify(input)} is not supported; expected one of ${
        ARCHITECTURES.map(({ type }) => `"${type}"`).join(", ")
      }`,
  }),
  auto_map: z.undefined({
    error: "The model runs code of its own repository, which is not supported",
  }).optional(),
  quantization_config: z.undefined({
    error: "The weights are quantized, which is not supported",
  }).optional(),
});

/** A fault with the field, its value and what is supported. */
function faultOf(issue: z.core.$ZodIssue, json: unknown): string {
  const { path, message } = issue;
  if (path.length === 0) return message;
  const name = `"${path.join(".")}"`;
  if (issue.code !== "invalid_value" || path[0] === "model_type") {
    return `${name}: ${message}`;
  }
  // A path may go on into a list that is written as text.
  const value = path.reduce<unknown>(
    (of, key) =>
      typeof of === "object" ? (of as Record<PropertyKey, unknown>)[key] : of,
    json,
  );
  const supported = issue.values.map((it) => JSON.stringify(it)).join(" or ");
  return value === undefined
    ? `${name} is missing; expected ${supported}`
    : `${name} is ${
      JSON.stringify(value)
    }, which is not supported; expected ${supported}`;
}

/**
 * Describes the model of a Hugging Face `config.json`.
 *
 * @param path Name of the file in messages
 * @throws {SyntaxError} If it is not JSON, or not of a supported model; names
 * every fault.
 */
export function parseModel(text: string, path = "config.json"): Model {
  const json = parseJson(text, path);
  try {
    const { model_type: type } = KnownConfig.parse(json);
    const architecture = ARCHITECTURES.find((it) => it.type === type)!;
    const model = modelOf(architecture, architecture.configure(json));
    if (model.maxLength >= 1) return model;
    throw new SyntaxError(
      `"${path}": "max_position_embeddings" leaves no positions for tokens`,
    );
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    const faults = error.issues.map((issue) => faultOf(issue, json));
    throw new SyntaxError(
      `"${path}" does not describe a supported model: ${faults.join("; ")}`,
    );
  }
}

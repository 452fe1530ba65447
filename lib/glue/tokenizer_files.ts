import { join } from "node:path";
import { z } from "zod";

/** What a model's architecture says about its tokenizer. */
export interface TokenizerDefaults {
  /** Transformers' class of the tokenizer, unless the files name another. */
  readonly tokenizerClass: string;
  /** Token type of the second text of a pair, if the tokenizer distinguishes the texts. */
  readonly pairType: 0 | 1;
}

/** What the files of a model say about its tokenizer. */
export interface TokenizerFiles {
  /** Path of `tokenizer.json`. */
  readonly path: string;
  /** Contents of `tokenizer.json`, not validated. */
  readonly settings: object;
  /** Fields of `settings` to which transformers gives other values. */
  readonly changes: object;
  /** Transformers' class. */
  readonly tokenizerClass: string;
  /** Inputs of the model that `tokenizer_config.json` names, if it does. */
  readonly inputNames: readonly string[] | undefined;
  /** Token type of the second text of a pair. */
  readonly pairType: 0 | 1;
}

/** What a class of transformers makes of the files. */
interface TokenizerClass {
  /** The part of `tokenizer.json` that it sets by `tokenizer_config.json`, to its own defaults where that has no value. */
  readonly sets?: "BertNormalizer" | "ByteLevel";
  /** Whether it gives token types, unless `tokenizer_config.json` names the inputs of the model. */
  readonly types: boolean;
}

/** Classes of the supported models. Any other one takes `tokenizer.json` as it is. */
const CLASSES: Readonly<Record<string, TokenizerClass>> = {
  BertTokenizer: { sets: "BertNormalizer", types: true },
  ElectraTokenizer: { sets: "BertNormalizer", types: true },
  DistilBertTokenizer: { sets: "BertNormalizer", types: false },
  MPNetTokenizer: { sets: "BertNormalizer", types: false },
  RobertaTokenizer: { sets: "ByteLevel", types: false },
  BartTokenizer: { sets: "ByteLevel", types: false },
  GPT2Tokenizer: { sets: "ByteLevel", types: false },
  LongformerTokenizer: { sets: "ByteLevel", types: false },
  XLMRobertaTokenizer: { types: false },
  CamembertTokenizer: { types: false },
  DebertaV2Tokenizer: { types: true },
};

/** The class of any `tokenizer.json`. */
const BASE_CLASS = "PreTrainedTokenizerFast";

const Config = z.looseObject({
  tokenizer_class: z.string().nullish(),
  do_lower_case: z.boolean().nullish(),
  strip_accents: z.boolean().nullish(),
  tokenize_chinese_chars: z.boolean().nullish(),
  add_prefix_space: z.boolean().nullish(),
  truncation_side: z.enum(["left", "right"]).nullish(),
  model_input_names: z.array(z.string()).nullish(),
});

type Config = z.output<typeof Config>;

const ModelConfig = z.looseObject({ tokenizer_class: z.string().nullish() });

/**
 * Reads `tokenizer.json` of a model folder and what transformers makes of it by
 * `tokenizer_config.json` and `config.json`, if they are there.
 *
 * @throws {SyntaxError} If a file is not JSON, or a field of the configuration is invalid.
 */
export async function readTokenizerFiles(
  folder: string,
  defaults: TokenizerDefaults,
): Promise<TokenizerFiles> {
  const path = join(folder, "tokenizer.json");
  const settings = await readJson(path) as object;
  const config = await readConfig(folder, "tokenizer_config.json", Config);
  const model = await readConfig(folder, "config.json", ModelConfig);
  // Transformers does not believe a ModernBERT that names another class.
  const tokenizerClass = defaults.tokenizerClass === BASE_CLASS
    ? BASE_CLASS
    : config.tokenizer_class ?? model.tokenizer_class ??
      defaults.tokenizerClass;
  const known = classOf(tokenizerClass);
  const inputNames = config.model_input_names ?? undefined;
  // Transformers 4 gives token types by the base class, 5 does not. BERTs were trained with them.
  const hasTypes = inputNames?.includes("token_type_ids") ??
    known?.types ?? true;
  return {
    path,
    settings,
    changes: changesOf(settings, config, known?.sets),
    tokenizerClass,
    inputNames,
    pairType: hasTypes ? defaults.pairType : 0,
  };
}

/**
 * Fields of `tokenizer_config.json` by which transformers gives the same tokens
 * and token types, with the tokenizer alone in a folder.
 */
export function neededConfig(
  { tokenizerClass, inputNames, pairType }: TokenizerFiles,
): object {
  const needsNames = pairType === 1 && inputNames === undefined &&
    classOf(tokenizerClass) === undefined;
  return {
    tokenizer_class: tokenizerClass,
    ...(needsNames && {
      model_input_names: ["input_ids", "token_type_ids", "attention_mask"],
    }),
  };
}

/** What a class makes of the files; in transformers 5, `Fast` in its name means nothing. */
function classOf(name: string): TokenizerClass | undefined {
  const plain = name.replace(/Fast$/, "");
  return Object.hasOwn(CLASSES, plain) ? CLASSES[plain] : undefined;
}

type Field = Readonly<Record<string, unknown>> | null | undefined;

/** Fields of `tokenizer.json` to which a class gives other values. */
function changesOf(
  settings: unknown,
  config: Config,
  sets: TokenizerClass["sets"],
): object {
  const fields = (settings ?? {}) as Readonly<Record<string, Field>>;
  const [name, values] = sets === "BertNormalizer"
    ? ["normalizer", {
      lowercase: config.do_lower_case ?? true,
      strip_accents: config.strip_accents ?? null,
      handle_chinese_chars: config.tokenize_chinese_chars ?? true,
    }]
    : ["pre_tokenizer", { add_prefix_space: config.add_prefix_space ?? false }];
  const field = fields[name];
  const differs = sets !== undefined && field?.type === sets &&
    Object.entries(values).some(([key, value]) =>
      (field[key] ?? null) !== value
    );
  const { truncation } = fields;
  const direction = config.truncation_side === "left" ? "Left" : "Right";
  const cutsOther = config.truncation_side != null &&
    direction !== (truncation?.direction ?? "Right");
  return {
    ...(differs && { [name]: { ...field, ...values } }),
    ...(cutsOther && { truncation: { ...truncation, direction } }),
  };
}

/** Reads an optional file of settings. */
async function readConfig<T extends z.ZodType>(
  folder: string,
  name: string,
  schema: T,
): Promise<z.output<T>> {
  const path = join(folder, name);
  const value = await readJson(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  });
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new SyntaxError(
    `"${path}" has invalid content:\n${z.prettifyError(result.error)}`,
  );
}

async function readJson(path: string): Promise<unknown> {
  const text = await Deno.readTextFile(path);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(
      `"${path}" is not JSON: ${(error as SyntaxError).message}`,
    );
  }
}

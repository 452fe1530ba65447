import { join } from "@std/path/posix/join";
import * as z from "zod";
import { parseJson } from "../data/text_file.ts";
import { readIfThere } from "../files/files.ts";

/** What a model's architecture says about its tokenizer. */
export interface TokenizerDefaults {
  /** Transformers' class. */
  readonly class: string;
  /** Whether transformers takes this class even if the files name another. */
  readonly isFixed?: boolean;
  /**
   * What the classes of all architectures make of the files. Any other one
   * takes `tokenizer.json` as it is.
   */
  readonly classes: Readonly<Record<string, TokenizerClass>>;
  /**
   * Token type of the second text of a pair, if the tokenizer distinguishes the
   * texts.
   */
  readonly pairType: 0 | 1;
  /**
   * True if texts may have no special tokens around them, or any, as those of
   * decoders.
   */
  readonly isFree?: boolean;
}

/** What a class of transformers makes of the files. */
export interface TokenizerClass {
  /**
   * Whether it gives token types, unless `tokenizer_config.json` names the
   * inputs of the model.
   */
  readonly types: boolean;
  /** A part of `tokenizer.json` that it makes from `tokenizer_config.json`. */
  readonly sets?: {
    readonly part: "normalizer" | "pre_tokenizer";
    /** @param part The part of the file */
    value(part: TokenizerPart, options: TokenizerOptions): TokenizerPart;
  };
}

/** A normalizer or pre-tokenizer of `tokenizer.json`. */
export type TokenizerPart = Readonly<Record<string, unknown>> | null;

/** File of the options of a tokenizer. */
const CONFIG_FILE = "tokenizer_config.json";

/** Tokens that templates of conversations may name. */
const SPECIAL_TOKENS = ["bos_token", "eos_token", "unk_token", "pad_token"];

const SpecialToken = z.union([
  z.string(),
  z.looseObject({ content: z.string() }).transform(({ content }) => content),
]).nullish();

const Config = z.looseObject({
  tokenizer_class: z.string().nullish(),
  do_lower_case: z.boolean().nullish(),
  strip_accents: z.boolean().nullish(),
  keep_accents: z.boolean().nullish(),
  tokenize_chinese_chars: z.boolean().nullish(),
  add_prefix_space: z.boolean().nullish(),
  truncation_side: z.enum(["left", "right"]).nullish(),
  model_input_names: z.array(z.string()).nullish(),
  ...Object.fromEntries(SPECIAL_TOKENS.map((name) => [name, SpecialToken])),
  chat_template: z.union([
    z.string(),
    z.array(z.object({ name: z.string(), template: z.string() }))
      .transform((all) => all.find(({ name }) => name === "default")?.template),
  ]).nullish(),
});

/**
 * Options of `tokenizer_config.json`, by some of which classes of transformers
 * change `tokenizer.json`.
 */
export type TokenizerOptions = z.output<typeof Config>;

const ModelConfig = z.looseObject({ tokenizer_class: z.string().nullish() });

/** What transformers makes of the files of a tokenizer. */
export interface TokenizerFiles {
  /** Path of `tokenizer.json`. */
  readonly path: string;
  /** Its contents, not validated. */
  readonly settings: object;
  /** Fields of `settings` to which transformers gives other values. */
  readonly changes: object;
  /** Token type of the second text of a pair. */
  readonly pairType: 0 | 1;
  /** Special tokens by the names that templates have for them. */
  readonly specialTokens: Readonly<Record<string, string | undefined>>;
  /**
   * The default template of conversations in Jinja, with its file; undefined
   * if the model has none.
   */
  readonly chatTemplate:
    | { readonly source: string; readonly path: string }
    | undefined;
  /**
   * Fields of `tokenizer_config.json` by which transformers gives the same
   * tokens and token types with the tokenizer alone in a folder.
   */
  readonly neededConfig: {
    readonly tokenizer_class: string;
    readonly model_input_names?: readonly string[];
  };
}

/**
 * Reads `tokenizer.json` of a model folder and what transformers makes of it by
 * `tokenizer_config.json` and `config.json`, if they are there.
 *
 * @throws {SyntaxError} If a file is not JSON, or a field of the configuration
 * is invalid.
 */
export async function readTokenizerFiles(
  folder: string,
  defaults: TokenizerDefaults,
): Promise<TokenizerFiles> {
  const path = join(folder, "tokenizer.json");
  const settings = parseJson(await Deno.readTextFile(path), path) as object;
  const config = readConfig(folder, CONFIG_FILE, Config);
  const model = readConfig(folder, "config.json", ModelConfig);
  const named = config.tokenizer_class ?? model.tokenizer_class;
  const tokenizer_class = defaults.isFixed || named == null
    ? defaults.class
    : named;
  // In transformers 5, `Fast` in the name of a class means nothing.
  const plain = tokenizer_class.replace(/Fast$/, "");
  const tokenizerClass = Object.hasOwn(defaults.classes, plain)
    ? defaults.classes[plain]
    : undefined;
  const inputNames = config.model_input_names;
  // Transformers 4 gives token types by the base class, 5 does not. Models were
  // trained with them.
  const hasTypes = inputNames?.includes("token_type_ids") ??
    tokenizerClass?.types ?? true;
  const pairType = hasTypes ? defaults.pairType : 0;
  const needsNames = pairType === 1 && inputNames == null &&
    tokenizerClass === undefined;
  return {
    path,
    settings,
    changes: changesOf(settings, config, tokenizerClass?.sets),
    pairType,
    specialTokens: Object.fromEntries(
      SPECIAL_TOKENS.map((name) => [name, config[name] ?? undefined]),
    ) as Readonly<Record<string, string | undefined>>,
    chatTemplate: chatTemplateOf(folder, config),
    neededConfig: {
      tokenizer_class,
      ...(needsNames && {
        model_input_names: ["input_ids", "token_type_ids", "attention_mask"],
      }),
    },
  };
}

/**
 * The template of conversations, that of a file of its own or of the
 * configuration.
 */
function chatTemplateOf(
  folder: string,
  { chat_template }: TokenizerOptions,
): TokenizerFiles["chatTemplate"] {
  const path = join(folder, "chat_template.jinja");
  const source = readIfThere(path);
  if (source !== undefined) return { source, path };
  if (chat_template == null) return undefined;
  return { source: chat_template, path: join(folder, CONFIG_FILE) };
}

/** Fields of `tokenizer.json` to which a class gives other values. */
function changesOf(
  settings: unknown,
  config: TokenizerOptions,
  sets: TokenizerClass["sets"],
): object {
  const fields = (settings ?? {}) as Readonly<
    Record<string, TokenizerPart | undefined>
  >;
  const part = sets && fields[sets.part] || null;
  const value = sets?.value(part, config);
  const differs = Object.entries(value ?? {}).some(([key, it]) =>
    JSON.stringify(it) !== JSON.stringify(part?.[key] ?? null)
  );
  const { truncation } = fields;
  const direction = config.truncation_side === "left" ? "Left" : "Right";
  const cutsOther = config.truncation_side != null &&
    direction !== (truncation?.direction ?? "Right");
  return {
    ...(differs && { [sets!.part]: value }),
    ...(cutsOther && { truncation: { ...truncation, direction } }),
  };
}

/** Reads an optional file of settings. */
function readConfig<T extends z.ZodType>(
  folder: string,
  name: string,
  schema: T,
): z.output<T> {
  const path = join(folder, name);
  return parseJson(readIfThere(path) ?? "{}", path, schema);
}

import { BPE, WordPiece } from "@huggingface/tokenizers";
import { z } from "zod";
import { type Normalizer, normalizer, stripEnd } from "./normalizer.ts";
import { type PreTokenizer, preTokenizer } from "./pre_tokenizer.ts";
import { Unigram } from "./unigram.ts";

/** Sequence that a text or a pair becomes: ids of special tokens, and where its texts stand. */
export type Layout = readonly (number | "A" | "B")[];

const AddedToken = z.looseObject({
  id: z.int().nonnegative(),
  content: z.string(),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().optional(),
  special: z.boolean().default(false),
});

const Settings = z.looseObject({
  added_tokens: z.array(AddedToken).default([]),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  post_processor: z.unknown(),
  model: z.looseObject({}),
});

/** Settings beside `tokenizer.json` that have precedence there. */
const Config = z.looseObject({
  do_lower_case: z.boolean().nullish(),
  strip_accents: z.boolean().nullish(),
  tokenize_chinese_chars: z.boolean().nullish(),
  add_prefix_space: z.boolean().nullish(),
});

/** Words whose ids are kept, and the length up to which they are. */
const CACHED_WORDS = 50_000;
const CACHED_LENGTH = 64;

/**
 * What a `tokenizer.json` says, as https://github.com/huggingface/tokenizers
 * (Rust) reads it: added tokens are cut out of the text, the rest is normalized
 * and cut into words, and the model encodes each word.
 *
 * The package `@huggingface/tokenizers` has the models WordPiece and BPE and
 * the translation of regular expressions. Its normalizers, pre-tokenizers and
 * Unigram are approximations (no character map of SentencePiece, other
 * definitions of white space, punctuation and case), so these are our own.
 */
export class TextTokenizer {
  /** What the post-processor makes of a text. */
  readonly single: Layout;
  /** What the post-processor makes of a pair. */
  readonly pair: Layout;
  readonly #normalize: Normalizer;
  readonly #split: PreTokenizer;
  readonly #encodeWord: (word: string) => readonly number[];
  readonly #raw: AddedTokens;
  readonly #normalized: AddedTokens;
  readonly #words = new Map<string, readonly number[]>();

  /**
   * @param settings Contents of `tokenizer.json`.
   * @param config Contents of `tokenizer_config.json`.
   * @throws {z.ZodError | SyntaxError | RangeError} If they are invalid or need what is not supported.
   */
  constructor(settings: unknown, config: unknown) {
    const { "tokenizer_config.json": checked } = z.object({
      "tokenizer_config.json": Config,
    }).parse({ "tokenizer_config.json": config });
    const parsed = withConfig(Settings.parse(settings), checked);
    this.#normalize = normalizer(parsed.normalizer);
    this.#split = preTokenizer(parsed.pre_tokenizer);
    const { encode, idOf, size } = modelOf(parsed.model);
    this.#encodeWord = encode;
    const tokens = addedTokens(parsed.added_tokens, idOf, size);
    const isNormalized = ({ normalized, special }: AddedToken) =>
      normalized ?? !special;
    this.#raw = new AddedTokens(tokens.filter((it) => !isNormalized(it)));
    this.#normalized = new AddedTokens(
      tokens.filter(isNormalized).map((it) => ({
        ...it,
        content: this.#normalize(it.content),
      })),
    );
    [this.single, this.pair] = layouts(parsed.post_processor);
  }

  /**
   * Ids of a text, without the special tokens around it.
   *
   * @throws {RangeError} If the settings are invalid in a part that this text needs.
   */
  encode(text: string): number[] {
    const ids: number[] = [];
    for (const part of this.#raw.split(text.toWellFormed())) {
      if (part.id !== undefined) {
        ids.push(part.id);
        continue;
      }
      const normal = this.#normalize(part.text);
      const trimmed = /^\p{White_Space}/u.test(part.text) &&
        !/^\p{White_Space}/u.test(normal);
      for (const inner of this.#normalized.split(normal)) {
        if (inner.id !== undefined) {
          ids.push(inner.id);
          continue;
        }
        const atStart = part.start === 0 && inner.start === 0 && !trimmed;
        const words = this.#split({ texts: [inner.text], atStart });
        for (const word of words.texts) {
          for (const id of this.#wordIds(word)) ids.push(id);
        }
      }
    }
    return ids;
  }

  #wordIds(word: string): readonly number[] {
    if (word.length > CACHED_LENGTH) return this.#encodeWord(word);
    let ids = this.#words.get(word);
    if (ids === undefined) {
      ids = this.#encodeWord(word);
      if (this.#words.size >= CACHED_WORDS) this.#words.clear();
      this.#words.set(word, ids);
    }
    return ids;
  }
}

type AddedToken = z.infer<typeof AddedToken>;

/** As transformers does, which builds the tokenizers of these models from their configuration. */
function withConfig(
  settings: z.infer<typeof Settings>,
  config: z.infer<typeof Config>,
): z.infer<typeof Settings> {
  const { normalizer, pre_tokenizer } = settings;
  const set = (value: unknown, type: string, changes: object) => {
    const isIt = (value as { type?: unknown } | null | undefined)?.type ===
      type;
    if (!isIt) return value;
    const entries = Object.entries(changes).filter(([, it]) => it != null);
    return { ...value as object, ...Object.fromEntries(entries) };
  };
  return {
    ...settings,
    normalizer: set(normalizer, "BertNormalizer", {
      lowercase: config.do_lower_case,
      strip_accents: config.strip_accents,
      handle_chinese_chars: config.tokenize_chinese_chars,
    }),
    pre_tokenizer: set(pre_tokenizer, "ByteLevel", {
      add_prefix_space: config.add_prefix_space,
    }),
  };
}

interface WordModel {
  encode(word: string): readonly number[];
  idOf(token: string): number | undefined;
  /** Tokens of the vocabulary. */
  readonly size: number;
}

const Vocabulary = z.custom<Record<string, number>>(
  (value) =>
    typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((id) => Number.isSafeInteger(id) && id >= 0),
  {
    error: "expected an id for each token",
  },
);

const WordPieceSettings = z.looseObject({
  vocab: Vocabulary,
  unk_token: z.string(),
  continuing_subword_prefix: z.string(),
  max_input_chars_per_word: z.int().positive(),
});

const absent = z.union([z.literal(""), z.null()], {
  error: "not supported; expected null",
}).optional();

const BpeSettings = z.looseObject({
  vocab: Vocabulary,
  merges: z.array(z.union([z.string(), z.array(z.string()).length(2)])),
  unk_token: z.string().nullish(),
  fuse_unk: z.boolean().default(false),
  ignore_merges: z.boolean().default(false),
  dropout: z.union([z.literal(0), z.null()], {
    error: "not supported; expected null",
  }).optional(),
  continuing_subword_prefix: absent,
  end_of_word_suffix: absent,
  byte_fallback: z.literal(false, { error: "not supported for BPE" })
    .optional(),
});

function modelOf(settings: z.infer<typeof Settings>["model"]): WordModel {
  const type = settings.type ??
    (Array.isArray(settings.vocab)
      ? "Unigram"
      : "merges" in settings
      ? "BPE"
      : "WordPiece");
  switch (type) {
    case "Unigram": {
      const model = new Unigram(settings);
      return {
        encode: (word) => model.encode(word),
        idOf: (token) => model.ids.get(token),
        size: (settings.vocab as unknown[]).length,
      };
    }
    case "WordPiece": {
      const parsed = WordPieceSettings.parse(settings);
      return ofLibrary(
        new WordPiece({ ...parsed, type: "WordPiece" }),
        parsed.vocab,
        parsed.unk_token,
      );
    }
    case "BPE": {
      const parsed = BpeSettings.parse(settings);
      const merges = parsed.merges.map((it) =>
        typeof it === "string" ? it.split(" ") : it
      );
      const known = (token: string) => Object.hasOwn(parsed.vocab, token);
      const wrong = merges.find((it) =>
        it.length !== 2 || !it.every(known) || !known(it.join(""))
      );
      if (wrong !== undefined) {
        throw new RangeError(
          `"merges" has ${
            JSON.stringify(wrong)
          }, but the vocabulary does not have these two tokens and their join`,
        );
      }
      const model = new BPE({
        type: "BPE",
        vocab: parsed.vocab,
        merges: merges as [string, string][],
        unk_token: parsed.unk_token ?? null,
        fuse_unk: parsed.fuse_unk,
        ignore_merges: parsed.ignore_merges,
      });
      return ofLibrary(model, parsed.vocab, parsed.unk_token ?? undefined);
    }
  }
  throw new RangeError(
    `Model ${
      JSON.stringify(type)
    } is not supported; expected WordPiece, BPE or Unigram`,
  );
}

function ofLibrary(
  model: BPE | WordPiece,
  vocab: Readonly<Record<string, number>>,
  unknown: string | undefined,
): WordModel {
  const ids = new Map(Object.entries(vocab));
  if (unknown !== undefined && !ids.has(unknown)) {
    throw new RangeError(
      `The vocabulary does not have the unknown token ${
        JSON.stringify(unknown)
      }`,
    );
  }
  return {
    encode: (word) => model([word]).map((token) => ids.get(token)!),
    idOf: (token) => ids.get(token),
    size: ids.size,
  };
}

/** Checks ids of added tokens: those of the vocabulary, or else the next ones after it. */
function addedTokens(
  tokens: readonly AddedToken[],
  idOf: (token: string) => number | undefined,
  size: number,
): readonly AddedToken[] {
  let next = size;
  const seen = new Map<string, number>();
  for (const { content, id } of tokens) {
    const expected = idOf(content) ?? seen.get(content) ?? next++;
    seen.set(content, expected);
    if (id !== expected) {
      throw new RangeError(
        `Added token ${
          JSON.stringify(content)
        } has id ${id}, but the vocabulary gives it ${expected}`,
      );
    }
  }
  return tokens.filter(({ content }) => content !== "");
}

interface Part {
  readonly text: string;
  /** Where it begins in the text that was split. */
  readonly start: number;
  /** If it is an added token. */
  readonly id?: number;
}

const WORD = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]`;
const WORD_AT_START = new RegExp(`^${WORD}`, "u");
const WORD_AT_END = new RegExp(`${WORD}$`, "u");

/** Finds added tokens in texts: the leftmost first, and the longest of those. */
class AddedTokens {
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  readonly #pattern: RegExp | undefined;

  constructor(tokens: readonly AddedToken[]) {
    this.#tokens = new Map(tokens.map((token) => [token.content, token]));
    const contents = [...this.#tokens.keys()].filter((it) => it !== "")
      .sort((a, b) => b.length - a.length);
    if (contents.length > 0) {
      this.#pattern = new RegExp(contents.map(escaped).join("|"), "gu");
    }
  }

  split(text: string): Part[] {
    if (text === "") return [];
    if (this.#pattern === undefined) return [{ text, start: 0 }];
    const parts: Part[] = [];
    let last = 0;
    for (const match of text.matchAll(this.#pattern)) {
      const token = this.#tokens.get(match[0])!;
      let start = match.index;
      let end = start + match[0].length;
      if (
        token.single_word &&
        (WORD_AT_END.test(text.slice(Math.max(0, start - 2), start)) ||
          WORD_AT_START.test(text.slice(end, end + 2)))
      ) continue;
      if (token.lstrip) {
        start = Math.max(last, stripEnd(text.slice(0, start)).length);
      }
      if (token.rstrip) {
        end += /^\p{White_Space}*/u.exec(text.slice(end))![0].length;
      }
      if (last < start) {
        parts.push({ text: text.slice(last, start), start: last });
      }
      parts.push({ text: text.slice(start, end), start, id: token.id });
      last = end;
    }
    if (last < text.length) parts.push({ text: text.slice(last), start: last });
    return parts;
  }
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|\/]/g, "\\$&");
}

const SpecialToken = z.tuple([z.string(), z.int().nonnegative()]);
const Pieces = z.array(z.union([
  z.looseObject({ Sequence: z.looseObject({ id: z.enum(["A", "B"]) }) }),
  z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }) }),
]));
const PostProcessor = z.discriminatedUnion("type", [
  z.looseObject({
    type: z.literal("TemplateProcessing"),
    single: Pieces,
    pair: Pieces,
    special_tokens: z.record(
      z.string(),
      z.looseObject({ ids: z.array(z.int().nonnegative()) }),
    ),
  }),
  z.looseObject({
    type: z.enum(["BertProcessing", "RobertaProcessing"]),
    cls: SpecialToken,
    sep: SpecialToken,
  }),
  z.looseObject({ type: z.literal("ByteLevel") }),
]);

/** What the post-processor makes of a text, and of a pair. */
function layouts(settings: unknown): [single: Layout, pair: Layout] {
  const Sequence = z.looseObject({
    type: z.literal("Sequence"),
    processors: z.array(PostProcessor),
  });
  const parsed = z.union([z.null(), Sequence, PostProcessor]).parse(
    settings ?? null,
  );
  const all = parsed === null
    ? []
    : parsed.type === "Sequence"
    ? parsed.processors
    : [parsed];
  const [only, ...more] = all.filter(({ type }) => type !== "ByteLevel");
  if (more.length > 0) {
    throw new RangeError("More than one post-processor is not supported");
  }
  if (only === undefined || only.type === "ByteLevel") {
    return [["A"], ["A", "B"]];
  }
  if (only.type === "TemplateProcessing") {
    const { single, pair, special_tokens } = only;
    const layout = (pieces: z.infer<typeof Pieces>) =>
      pieces.flatMap((piece): Layout => {
        if ("Sequence" in piece) {
          return [(piece as { Sequence: { id: "A" | "B" } }).Sequence.id];
        }
        const { id } = (piece as { SpecialToken: { id: string } }).SpecialToken;
        if (!Object.hasOwn(special_tokens, id)) {
          throw new RangeError(
            `The post-processor has no ids for ${JSON.stringify(id)}`,
          );
        }
        return special_tokens[id]!.ids;
      });
    return [layout(single), layout(pair)];
  }
  const { cls: [, cls], sep: [, sep], type } = only;
  const between = type === "BertProcessing" ? [sep] : [sep, sep];
  return [[cls, "A", sep], [cls, "A", ...between, "B", sep]];
}

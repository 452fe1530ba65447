import { BPE, WordPiece } from "@huggingface/tokenizers";
import * as z from "zod";
import { AddedToken, checkIds, tokenSplitter } from "./added_tokens.ts";
import type { Span } from "../data/example.ts";
import { AlignedText } from "./aligned_text.ts";
import type { Layout } from "./frame.ts";
import { normalizer } from "./normalizer.ts";
import { preTokenizer } from "./pre_tokenizer.ts";
import { type Pieces, type TokenModel, unigram } from "./unigram.ts";

const Settings = z.looseObject({
  added_tokens: z.array(AddedToken).default([]),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  post_processor: z.unknown(),
  model: z.looseObject({}),
  truncation: z.looseObject({ direction: z.enum(["Left", "Right"]).nullish() })
    .nullish(),
});

/** Maximum number of cached words. */
const CACHED_WORDS = 50_000;
/** Maximum number of characters in a cached word. */
const CACHED_LENGTH = 64;

/** The tokenizer of a `tokenizer.json`. */
export interface TextTokenizer {
  /** Layout of a text. */
  readonly single: Layout;
  /** Layout of a pair. */
  readonly pair: Layout;
  /** True if long texts lose their beginnings instead of their ends. */
  readonly cutsLeft: boolean;
  /** Ids of the special tokens. */
  readonly special: ReadonlySet<number>;
  /**
   * Ids of a text, without the special tokens around it.
   *
   * @throws {RangeError} If the settings are invalid in a part that this text
   * needs.
   */
  encode(text: string): number[];
  /**
   * Ids of a text, and where each stands in it, without white space around it.
   *
   * @throws {RangeError} As {@linkcode encode}, or if the normalizer changes
   * characters by their neighbours.
   */
  encodePlaced(
    text: string,
  ): { readonly ids: number[]; readonly spans: Span[] };
}

/**
 * Reads a tokenizer, which gives the results of
 * https://github.com/huggingface/tokenizers (Rust): added tokens are cut out of
 * the text, the rest is normalized and cut into words, and the model encodes
 * each word.
 *
 * The package `@huggingface/tokenizers` has the models WordPiece and BPE and
 * the translation of regular expressions. Its normalizers, pre-tokenizers and
 * Unigram are approximations (no character map of SentencePiece, other
 * definitions of white space, punctuation and case), so these are our own.
 *
 * @param settings Contents of `tokenizer.json`.
 * @throws {z.ZodError | SyntaxError | RangeError} If they are invalid, or of an
 * unsupported kind.
 */
export function textTokenizer(settings: unknown): TextTokenizer {
  const parsed = Settings.parse(settings);
  const normalize = normalizer(parsed.normalizer);
  const split = preTokenizer(parsed.pre_tokenizer);
  const model = modelOf(parsed.model);
  const tokens = parsed.added_tokens;
  checkIds(tokens, model.idOf, model.size);
  const isNormalized = ({ normalized, special }: AddedToken) =>
    normalized ?? !special;
  const splitRaw = tokenSplitter(tokens.filter((it) => !isNormalized(it)));
  const splitNormalized = tokenSplitter(
    tokens.filter(isNormalized).map((it) => ({
      ...it,
      content: normalize(new AlignedText(it.content)).text,
    })),
  );
  const [single, pair] = layouts(parsed.post_processor);
  const cached = new Map<string, Pieces>();

  const piecesOf = (word: string): Pieces => {
    if (word.length > CACHED_LENGTH) return model.encode(word);
    if (cached.size >= CACHED_WORDS) cached.clear();
    return cached.getOrInsertComputed(word, (word) => model.encode(word));
  };
  /** Calls a function with each part of a text, normalized, and its tokens. */
  const encodeParts = (
    text: AlignedText,
    add: (part: AlignedText, pieces: Pieces) => void,
  ) => {
    const addToken = (part: AlignedText, id: number) =>
      add(part, { ids: [id], spans: [0, part.text.length] });
    for (const raw of splitRaw(text)) {
      if (raw.id !== undefined) {
        addToken(raw.part, raw.id);
        continue;
      }
      const normal = normalize(raw.part);
      const trimmed = /^\p{White_Space}/u.test(raw.part.text) &&
        !/^\p{White_Space}/u.test(normal.text);
      for (const inner of splitNormalized(normal)) {
        if (inner.id !== undefined) {
          addToken(inner.part, inner.id);
          continue;
        }
        const atStart = raw.start === 0 && inner.start === 0 && !trimmed;
        const words = split({ texts: [inner.part], atStart });
        for (const word of words.texts) add(word, piecesOf(word.text));
      }
    }
  };

  return {
    single,
    pair,
    cutsLeft: parsed.truncation?.direction === "Left",
    special: new Set(
      tokens.filter(({ special }) => special).map(({ id }) => id),
    ),
    encode(text) {
      const ids: number[] = [];
      encodeParts(new AlignedText(text.toWellFormed()), (_, pieces) => {
        for (const id of pieces.ids) ids.push(id);
      });
      return ids;
    },
    encodePlaced(text) {
      const ids: number[] = [];
      const spans: Span[] = [];
      const original = text.toWellFormed();
      encodeParts(AlignedText.placed(original), (part, pieces) => {
        for (const [i, id] of pieces.ids.entries()) {
          const start = pieces.spans[2 * i]!;
          const end = pieces.spans[2 * i + 1]!;
          ids.push(id);
          spans.push(part.spanOf(start, end, original));
        }
      });
      return { ids, spans };
    },
  };
}

const Vocabulary = z.custom<Record<string, number>>(
  (value) =>
    typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((id) => Number.isSafeInteger(id) && id >= 0),
  { error: "expected an id for each token" },
);

const WordPieceSettings = z.looseObject({
  vocab: Vocabulary,
  unk_token: z.string(),
  continuing_subword_prefix: z.string(),
  max_input_chars_per_word: z.int().positive(),
});

const absent = z.literal(["", 0, null], {
  error: "not supported; expected null",
}).optional();

const BpeSettings = z.looseObject({
  vocab: Vocabulary,
  merges: z.array(z.union([z.string(), z.array(z.string()).length(2)])),
  unk_token: z.string().nullish(),
  fuse_unk: z.boolean().default(false),
  ignore_merges: z.boolean().default(false),
  dropout: absent,
  continuing_subword_prefix: absent,
  end_of_word_suffix: absent,
  byte_fallback: z.boolean().default(false),
});

function modelOf(
  settings: z.infer<typeof Settings>["model"],
): TokenModel {
  const type = settings.type ??
    (Array.isArray(settings.vocab)
      ? "Unigram"
      : "merges" in settings
      ? "BPE"
      : "WordPiece");
  switch (type) {
    case "Unigram":
      return unigram(settings);
    case "WordPiece": {
      const parsed = WordPieceSettings.parse(settings);
      const { continuing_subword_prefix: prefix, unk_token: unknown } = parsed;
      return ofLibrary(
        new WordPiece({ ...parsed, type: "WordPiece" }),
        parsed.vocab,
        unknown,
        (word, tokens) => wordPieceSpans(word, tokens, prefix.length),
      );
    }
    case "BPE": {
      const parsed = BpeSettings.parse(settings);
      const merges = parsed.merges.map((it) =>
        typeof it === "string" ? it.split(" ") : it
      );
      const isKnown = (token: string) => Object.hasOwn(parsed.vocab, token);
      const wrong = merges.find((it) =>
        it.length !== 2 || !it.every(isKnown) || !isKnown(it.join(""))
      );
      if (wrong !== undefined) {
        const pair = JSON.stringify(wrong);
        throw new RangeError(
          `"merges" has ${pair}, but the vocabulary does not have these two tokens and their join`,
        );
      }
      const { vocab, fuse_unk, ignore_merges, byte_fallback } = parsed;
      const unknown = parsed.unk_token ?? null;
      const model = new BPE({
        type: "BPE",
        vocab,
        fuse_unk,
        ignore_merges,
        byte_fallback,
        unk_token: unknown,
        merges: merges as [string, string][],
      });
      const isLossy = unknown === null && !byte_fallback;
      const losses = { drops: isLossy, fuses: fuse_unk };
      const bpe = ofLibrary(
        model,
        vocab,
        unknown,
        (word, tokens) => bpeSpans(word, tokens, isKnown, losses),
      );
      if (!isLossy) return bpe;
      // Without an unknown token, characters that are unknown are gone before
      // pairs are merged.
      return {
        ...bpe,
        encode(word) {
          if (ignore_merges && isKnown(word)) return bpe.encode(word);
          const rest = Array.from(word).filter(isKnown).join("");
          return rest === "" ? { ids: [], spans: [] } : bpe.encode(rest, word);
        },
      };
    }
  }
  const name = JSON.stringify(type);
  throw new RangeError(
    `Model ${name} is not supported; expected WordPiece, BPE or Unigram`,
  );
}

/**
 * Start and end of each token of WordPiece in a word.
 *
 * @param prefix Length of the prefix of all tokens but the first
 */
function wordPieceSpans(
  word: string,
  tokens: readonly string[],
  prefix: number,
): number[] {
  if (tokens.length === 1) return [0, word.length];
  const spans: number[] = [];
  let start = 0;
  for (const [i, { length }] of tokens.entries()) {
    const end = start + length - (i > 0 ? prefix : 0);
    spans.push(start, end);
    start = end;
  }
  return spans;
}

/**
 * Start and end of each token of BPE in a word, of which it may not know some
 * characters.
 */
function bpeSpans(
  word: string,
  tokens: readonly string[],
  isKnown: (character: string) => boolean,
  { drops, fuses }: { readonly drops: boolean; readonly fuses: boolean },
): number[] {
  let at = 0;
  /** Bytes of the character at `at` that tokens have covered. */
  let bytes = 0;
  const character = () => String.fromCodePoint(word.codePointAt(at)!);
  const isUnknown = () => at < word.length && !isKnown(character());
  return tokens.flatMap((token) => {
    while (drops && isUnknown()) at += character().length;
    const start = at;
    if (word.startsWith(token, start)) at += token.length;
    else if (/^<0x[0-9A-F]{2}>$/.test(token)) {
      const { length } = character();
      const size = new TextEncoder().encode(character()).length;
      bytes = (bytes + 1) % size;
      if (bytes === 0) at += length;
      return [start, start + length];
    } else {
      do at += character().length; while (fuses && isUnknown());
    }
    return [start, at];
  });
}

function ofLibrary(
  model: BPE | WordPiece,
  vocab: Readonly<Record<string, number>>,
  unknown: string | null,
  spansOf: (word: string, tokens: readonly string[]) => number[],
) {
  const ids = new Map(Object.entries(vocab));
  if (unknown !== null && !ids.has(unknown)) {
    const token = JSON.stringify(unknown);
    throw new RangeError(
      `The vocabulary does not have the unknown token ${token}`,
    );
  }
  return {
    /** @param whole The word with what is left out of it */
    encode(word: string, whole = word): Pieces {
      const tokens: string[] = model([word]);
      return {
        ids: tokens.map((token) => ids.get(token)!),
        spans: spansOf(whole, tokens),
      };
    },
    idOf: (token: string) => ids.get(token),
    size: ids.size,
  };
}

const SpecialToken = z.tuple([z.string(), z.int().nonnegative()]);
const Pieces = z.array(z.union([
  z.looseObject({ Sequence: z.looseObject({ id: z.enum(["A", "B"]) }) })
    .transform(({ Sequence: { id } }) => id),
  z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }) })
    .transform(({ SpecialToken: { id } }) => ({ special: id })),
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

/** Layouts of a text and of a pair by the post-processor. */
function layouts(settings: unknown): [single: Layout, pair: Layout] {
  const Sequence = z.looseObject({
    type: z.literal("Sequence"),
    processors: z.array(PostProcessor),
  });
  const parsed = z.union([Sequence, PostProcessor]).parse(
    settings ?? { type: "Sequence", processors: [] },
  );
  const all = parsed.type === "Sequence" ? parsed.processors : [parsed];
  const [only, ...more] = all.filter(({ type }) => type !== "ByteLevel");
  if (more.length > 0) {
    throw new RangeError("More than one post-processor is not supported");
  }
  if (only === undefined || only.type === "ByteLevel") {
    return [["A"], ["A", "B"]];
  }
  if (only.type === "TemplateProcessing") {
    const { single, pair, special_tokens } = only;
    const layout = (pieces: z.output<typeof Pieces>) =>
      pieces.flatMap((piece): Layout => {
        if (typeof piece === "string") return [piece];
        const { special } = piece;
        if (Object.hasOwn(special_tokens, special)) {
          return special_tokens[special]!.ids;
        }
        throw new RangeError(
          `The post-processor has no ids for ${JSON.stringify(special)}`,
        );
      });
    return [layout(single), layout(pair)];
  }
  const { cls: [, cls], sep: [, sep], type } = only;
  const between = type === "BertProcessing" ? [sep] : [sep, sep];
  return [[cls, "A", sep], [cls, "A", ...between, "B", sep]];
}

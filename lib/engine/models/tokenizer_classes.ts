import type { TokenizerClass } from "../../text/tokenizer_files.ts";

/** A class of transformers with BERT's WordPiece. */
export function wordPiece(types: boolean): TokenizerClass {
  return {
    types,
    sets: {
      part: "normalizer",
      value: (given, options) =>
        given?.type !== "BertNormalizer" ? given : {
          ...given,
          lowercase: options.do_lower_case ?? true,
          strip_accents: options.strip_accents ?? null,
          handle_chinese_chars: options.tokenize_chinese_chars ?? true,
        },
    },
  };
}

/** A class of transformers with byte-level BPE. */
export const byteLevel: TokenizerClass = {
  types: false,
  sets: {
    part: "pre_tokenizer",
    value: (given, { add_prefix_space }) =>
      given?.type !== "ByteLevel"
        ? given
        : { ...given, add_prefix_space: add_prefix_space ?? false },
  },
};

import * as z from "zod";
import type { AlignedText } from "./aligned_text.ts";
import { precompiledMap } from "./precompiled_map.ts";
import { textPattern } from "./text_pattern.ts";

/** Maps a text to its normal form. */
export type Normalizer = (text: AlignedText) => AlignedText;

/*
 * The Rust library has tables of other versions of Unicode than V8. The
 * constants list the characters in which they differ, found by comparing all;
 * tests/text/token_ids_test.ts compares them again.
 */

/** Format characters added since Unicode 7, which it keeps. */
const NEW_FORMATS = String.raw`\u0890\u0891\u08e2\u{110cd}\u{13430}-\u{1343f}`;
/** Nonspacing marks added since Unicode 7, which it does not strip. */
const NEW_NONSPACING = String
  .raw`\u07fd\u0897-\u089f\u08ca-\u08e1\u09fe\u0afa-\u0aff\u0b55\u0c04\u0c3c\u0d00\u0d3b\u0d3c\u0d81\u0eba\u0ece\u180f\u1885\u1886\u1abf-\u1ace\u1df6-\u1dfb\ua82c\ua8c5\ua8ff\ua9bd\u{10d24}-\u{10d27}\u{10d69}-\u{10d6d}\u{10eab}\u{10eac}\u{10efc}-\u{10eff}\u{10f46}-\u{10f50}\u{10f82}-\u{10f85}\u{11070}\u{11073}\u{11074}\u{110c2}\u{111c9}\u{111cf}\u{1123e}\u{11241}\u{1133b}\u{113bb}-\u{113c0}\u{113ce}\u{113d0}\u{113d2}\u{113e1}\u{113e2}\u{11438}-\u{1143f}\u{11442}-\u{11444}\u{11446}\u{1145e}\u{1182f}-\u{11837}\u{11839}\u{1183a}\u{1193b}\u{1193c}\u{1193e}\u{11943}\u{119d4}-\u{119d7}\u{119da}\u{119db}\u{119e0}\u{11a01}-\u{11a0a}\u{11a33}-\u{11a38}\u{11a3b}-\u{11a3e}\u{11a47}\u{11a51}-\u{11a56}\u{11a59}-\u{11a5b}\u{11a8a}-\u{11a96}\u{11a98}\u{11a99}\u{11c30}-\u{11c36}\u{11c38}-\u{11c3d}\u{11c3f}\u{11c92}-\u{11ca7}\u{11caa}-\u{11cb0}\u{11cb2}\u{11cb3}\u{11cb5}\u{11cb6}\u{11d31}-\u{11d36}\u{11d3a}\u{11d3c}\u{11d3d}\u{11d3f}-\u{11d45}\u{11d47}\u{11d90}\u{11d91}\u{11d95}\u{11d97}\u{11ef3}\u{11ef4}\u{11f00}\u{11f01}\u{11f36}-\u{11f3a}\u{11f40}\u{11f42}\u{11f5a}\u{13440}\u{13447}-\u{13455}\u{1611e}-\u{16129}\u{1612d}-\u{1612f}\u{16f4f}\u{16fe4}\u{1cf00}-\u{1cf2d}\u{1cf30}-\u{1cf46}\u{1e000}-\u{1e006}\u{1e008}-\u{1e018}\u{1e01b}-\u{1e021}\u{1e023}\u{1e024}\u{1e026}-\u{1e02a}\u{1e08f}\u{1e130}-\u{1e136}\u{1e2ae}\u{1e2ec}-\u{1e2ef}\u{1e4ec}-\u{1e4ef}\u{1e5ee}\u{1e5ef}\u{1e944}-\u{1e94a}`;
/** Marks added since Unicode 8, which it does not strip as accents. */
const NEW_MARKS = String
  .raw`\u07fd\u0897-\u089f\u08ca-\u08d3\u09fe\u0afa-\u0aff\u0b55\u0c04\u0c3c\u0cf3\u0d00\u0d3b\u0d3c\u0d81\u0eba\u0ece\u1715\u180f\u1abf-\u1ace\u1cf7\u1df6-\u1dfa\ua82c\ua8ff\u{10d24}-\u{10d27}\u{10d69}-\u{10d6d}\u{10eab}\u{10eac}\u{10efc}-\u{10eff}\u{10f46}-\u{10f50}\u{10f82}-\u{10f85}\u{11070}\u{11073}\u{11074}\u{110c2}\u{11145}\u{11146}\u{111c9}\u{111ce}\u{111cf}\u{11241}\u{1133b}\u{113b8}-\u{113c0}\u{113c2}\u{113c5}\u{113c7}-\u{113ca}\u{113cc}-\u{113d0}\u{113d2}\u{113e1}\u{113e2}\u{1145e}\u{1182c}-\u{1183a}\u{11930}-\u{11935}\u{11937}\u{11938}\u{1193b}-\u{1193e}\u{11940}\u{11942}\u{11943}\u{119d1}-\u{119d7}\u{119da}-\u{119e0}\u{119e4}\u{11a01}-\u{11a0a}\u{11a33}-\u{11a39}\u{11a3b}-\u{11a3e}\u{11a47}\u{11a51}-\u{11a5b}\u{11a8a}-\u{11a99}\u{11d31}-\u{11d36}\u{11d3a}\u{11d3c}\u{11d3d}\u{11d3f}-\u{11d45}\u{11d47}\u{11d8a}-\u{11d8e}\u{11d90}\u{11d91}\u{11d93}-\u{11d97}\u{11ef3}-\u{11ef6}\u{11f00}\u{11f01}\u{11f03}\u{11f34}-\u{11f3a}\u{11f3e}-\u{11f42}\u{11f5a}\u{13440}\u{13447}-\u{13455}\u{1611e}-\u{1612f}\u{16f4f}\u{16f7f}-\u{16f87}\u{16fe4}\u{16ff0}\u{16ff1}\u{1cf00}-\u{1cf2d}\u{1cf30}-\u{1cf46}\u{1e08f}\u{1e130}-\u{1e136}\u{1e2ae}\u{1e2ec}-\u{1e2ef}\u{1e4ec}-\u{1e4ef}\u{1e5ee}\u{1e5ef}`;
/**
 * Characters without a decomposition, or without a compatible one, in Unicode
 * 11, which it does not decompose.
 */
const NEW_CANONICAL = String
  .raw`\u{105c9}\u{105e4}\u{11383}\u{11385}\u{1138e}\u{11391}\u{113c5}\u{113c7}\u{113c8}\u{11938}\u{16121}-\u{16128}\u{16d68}-\u{16d6a}`;
const NEW_COMPATIBLE = String
  .raw`\u32ff\ua7f2-\ua7f4\uab69\u{10781}-\u{10785}\u{10787}-\u{107b0}\u{107b2}-\u{107ba}\u{1ccd6}-\u{1ccf9}\u{1e030}-\u{1e06d}\u{1f16c}\u{1fbf0}-\u{1fbf9}`;
/** Marks that it does not reorder. */
const NEW_ORDERED = String.raw`\u1df6\u{1e4ec}\u{1e4ed}`;

const REMOVED = new RegExp(
  `[[\\p{Cc}\\p{Cf}\\p{Co}\uFFFD]--[\\t\\n\\r${NEW_FORMATS}]]+`,
  "gv",
);
const NONSPACING = new RegExp(
  `[[\\p{Mn}\\u1734\\u{1171e}]--[${NEW_NONSPACING}]]+`,
  "gv",
);
const MARKS = new RegExp(`[[\\p{M}\\u1cf2\\u1cf3]--[${NEW_MARKS}]]+`, "gv");
const WHITE_SPACE = /\p{White_Space}/gu;
/** Ideographs, and not the kana or hangul. */
const CHINESE =
  /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

/**
 * Times by which a normal form may be longer than its text; that of Unicode is
 * 18 times as long at most.
 */
const MAX_GROWTH = 100;

/**
 * @throws {RangeError} If a normalizer multiplies a text, which a few that
 * follow each other can do without limit.
 */
function checkGrowth(length: number, { length: before }: string): void {
  if (length <= MAX_GROWTH * Math.max(before, 100)) return;
  throw new RangeError(
    `The normalizer makes ${length} characters of ${before}; the maximum is ${MAX_GROWTH} times as many`,
  );
}

/** Normalizers by the `type` of their settings. */
const KINDS: Kinds<Normalizer> = {
  Sequence: withFields(
    { normalizers: z.array(z.unknown()) },
    ({ normalizers }) => {
      const all = normalizers.map(normalizer);
      return (text) =>
        all.reduce((it, normalize) => {
          const result = normalize(it);
          checkGrowth(result.text.length, text.text);
          return result;
        }, text);
    },
  ),
  BertNormalizer: withFields({
    clean_text: z.boolean(),
    handle_chinese_chars: z.boolean(),
    strip_accents: z.boolean().nullish(),
    lowercase: z.boolean(),
  }, (options) =>
    ofCharacters((text) => {
      if (options.clean_text) {
        text = text.replace(REMOVED, "").replace(WHITE_SPACE, " ");
      }
      if (options.handle_chinese_chars) text = text.replace(CHINESE, " $& ");
      if (options.strip_accents ?? options.lowercase) {
        text = normalForm("NFD", text).replace(NONSPACING, "");
      }
      return options.lowercase ? lowerCase(text) : text;
    })),
  Precompiled: withFields(
    { precompiled_charsmap: z.string() },
    ({ precompiled_charsmap }) =>
      ofCharacters(precompiledMap(precompiled_charsmap)),
  ),
  Replace: withFields(
    { pattern: z.unknown(), content: z.string() },
    ({ pattern, content }) => {
      const find = textPattern(pattern);
      return (text) => {
        const matches = find(text.text);
        const growth = matches.length * content.length;
        checkGrowth(text.text.length + growth, text.text);
        return text.edit(matches.map(([start, end]) => [start, end, content]));
      };
    },
  ),
  Strip: withFields(
    { strip_left: z.boolean(), strip_right: z.boolean() },
    ({ strip_left, strip_right }) => (text) => {
      const [{ length: start }] = strip_left
        ? /^\p{White_Space}*/u.exec(text.text)!
        : [""];
      const end = strip_right ? stripEnd(text.text).length : undefined;
      return text.slice(start, end);
    },
  ),
  Prepend: withFields(
    { prepend: z.string() },
    ({ prepend }) => (text) =>
      text.text === "" ? text : text.edit([[0, 0, prepend]]),
  ),
  StripAccents: () => ofCharacters((text) => text.replace(MARKS, "")),
  Lowercase: () => ofCharacters(lowerCase),
  NFC: () => ofCharacters((text) => normalForm("NFC", text)),
  NFD: () => ofCharacters((text) => normalForm("NFD", text)),
  NFKC: () => ofCharacters((text) => normalForm("NFKC", text)),
  NFKD: () => ofCharacters((text) => normalForm("NFKD", text)),
  Nmt: () =>
    ofCharacters((text) =>
      // deno-lint-ignore no-control-regex -- it is about control characters
      text.replace(/[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]+/g, "")
        .replace(
          /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g,
          " ",
        )
    ),
};

function ofCharacters(change: (text: string) => string): Normalizer {
  return (text) => text.map(change);
}

/**
 * The normalizer of a `tokenizer.json`.
 *
 * @param settings `normalizer` there; null leaves texts as they are.
 * @throws {z.ZodError | SyntaxError | RangeError} If it is invalid, or of an
 * unsupported kind.
 */
export function normalizer(settings: unknown): Normalizer {
  return ofKind(KINDS, "Normalizer", settings) ?? ((text) => text);
}

/**
 * How parts of a tokenizer are made from their settings, by the `type` of
 * these.
 */
export type Kinds<T> = Readonly<Record<string, (settings: unknown) => T>>;

/** A kind whose settings have these fields. */
export function withFields<Fields extends z.ZodRawShape, T>(
  fields: Fields,
  make: (settings: z.output<z.ZodObject<Fields>>) => T,
) {
  const schema = z.object(fields);
  return (settings: unknown): T => make(schema.parse(settings));
}

/**
 * Makes a part of a tokenizer from its settings, by their `type`.
 *
 * @param title Name of the part in messages
 * @returns Undefined if the settings are null or absent.
 * @throws {z.ZodError | SyntaxError | RangeError} If they are invalid, or of an
 * unsupported kind.
 */
export function ofKind<T>(
  kinds: Kinds<T>,
  title: string,
  settings: unknown,
): T | undefined {
  if (settings === null || settings === undefined) return undefined;
  const { type } = z.looseObject({ type: z.string() }).parse(settings);
  if (Object.hasOwn(kinds, type)) return kinds[type]!(settings);
  throw new RangeError(
    `${title} ${JSON.stringify(type)} is not supported; expected ${
      Object.keys(kinds).join(", ")
    }`,
  );
}

/** Drops white space at the end, in time linear in its length. */
export function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

/**
 * Lowers each character by itself, including those of Unicode 17; a final sigma
 * becomes a plain one.
 */
function lowerCase(text: string): string {
  const shifted = (letter: string, by: number) =>
    String.fromCodePoint(letter.codePointAt(0)! + by);
  return text.replaceAll("\u03a3", "\u03c3")
    .replace(/[\ua7ce\ua7d2\ua7d4]/g, (it) => shifted(it, 1))
    .replace(/[\u{16ea0}-\u{16eb8}]/gu, (it) => shifted(it, 0x1b))
    .toLowerCase();
}

/** Parts of a text to which a normal form is applied. */
const PARTS = {
  NFC: new RegExp(`[^${NEW_ORDERED}]+`, "gu"),
  NFD: new RegExp(`[^${NEW_ORDERED}${NEW_CANONICAL}]+`, "gu"),
  NFKC: new RegExp(`[^${NEW_ORDERED}${NEW_COMPATIBLE}]+`, "gu"),
  NFKD: new RegExp(`[^${NEW_ORDERED}${NEW_CANONICAL}${NEW_COMPATIBLE}]+`, "gu"),
};

function normalForm(form: keyof typeof PARTS, text: string): string {
  return text.replace(PARTS[form], (part) => part.normalize(form));
}

import { assert, assertEquals, assertThrows } from "@std/assert";
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { join } from "node:path";
import { cpuUsage } from "node:process";
import { electra } from "../../lib/engine/models/electra.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import { textTokenizer } from "../../lib/text/text_tokenizer.ts";
import { unigram } from "../../lib/text/unigram.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

/** Settings of a tiny tokenizer with some of them replaced. */
async function settingsOf(model: string, changes: object = {}) {
  const path = join(fixtures, model, "tokenizer.json");
  return { ...JSON.parse(await Deno.readTextFile(path)), ...changes };
}

/** Pieces of the example in the documentation of the Rust library, and one more. */
const PIECES = Object.entries({
  "<unk>": 0,
  a: 0,
  b: 0,
  c: 0,
  d: 0,
  cd: 1,
  ab: 2,
  abc: 5,
  abcd: 10,
  xy: 0.5,
});

Deno.test("unigram().encode() takes the pieces of the largest sum, and one token for neighbouring unknown characters", () => {
  const model = unigram({ unk_id: 0, vocab: PIECES });
  // As tokenizers 0.23.3 gives them.
  assertEquals(model.encode("abcdacdxx").ids, [8, 1, 5, 0]);
  assertEquals(model.encode("axy\u00e9b").ids, [1, 9, 0, 2]);
  assertEquals(model.encode("a<unk>\u00e9b").ids, [1, 0, 2]);
  assertEquals(model.encode("").ids, []);
});

Deno.test("unigram().encode() falls back to bytes if the vocabulary has them all", () => {
  const bytes = Array.from({ length: 256 }, (_, byte) => [
    `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
    -20,
  ]);
  const encode = (vocab: unknown[]) =>
    unigram({ unk_id: 0, byte_fallback: true, vocab }).encode(
      "a\u00e9\u20acb",
    ).ids;
  // 10 + byte
  assertEquals(
    encode([...PIECES, ...bytes]),
    [1, 205, 179, 236, 140, 182, 2],
  );
  assertEquals(encode([...PIECES, ...bytes.slice(0, 200)]), [1, 0, 2]);
});

Deno.test("unigram().encode() refuses an unknown character if no token stands for it", () => {
  const model = unigram({ vocab: PIECES });
  assertThrows(
    () => model.encode("a?"),
    RangeError,
    'no unknown token for "?"',
  );
});

Deno.test("textTokenizer().encode() merges across unknown characters where BPE has no unknown token", () => {
  for (const ignore_merges of [false, true]) {
    const tokenizer = textTokenizer({
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      model: {
        type: "BPE",
        vocab: { a: 0, b: 1, ab: 2 },
        merges: [["a", "b"]],
        unk_token: null,
        ignore_merges,
      },
    });
    // As tokenizers 0.23.3 gives them.
    assertEquals(
      ["a文b", "文", "aab文", "ab"].map((text) => tokenizer.encode(text)),
      [[2], [], [0, 2], [2]],
    );
  }
});

Deno.test("textTokenizer().encode() finds added tokens as whole words, with the white space around them", () => {
  const tokenizer = textTokenizer({
    added_tokens: [
      { id: 10, content: "bc", single_word: true, normalized: false },
      { id: 11, content: "#", lstrip: true, rstrip: true, normalized: false },
    ],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    model: { type: "Unigram", unk_id: 0, vocab: PIECES },
  });
  // As tokenizers 0.23.3 gives them.
  assertEquals(
    tokenizer.encode("bc abc bcd bc. _bc a \u00a0# \t b##c bc"),
    [10, 0, 7, 0, 2, 5, 0, 10, 0, 2, 3, 0, 1, 11, 2, 11, 11, 3, 0, 10],
  );
});

Deno.test("ModelTokenizer.encode() stops a regular expression that backtracks for ever, and names the file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "tokenizer.json");
    for (
      const changes of [
        {
          pre_tokenizer: {
            type: "Split",
            pattern: { Regex: "(\\w+\\s?)*#" },
            behavior: "Isolated",
            invert: false,
          },
        },
        {
          normalizer: {
            type: "Replace",
            pattern: { Regex: "(a|a)*$" },
            content: "",
          },
        },
      ]
    ) {
      const settings = await settingsOf("tiny-electra", changes);
      await Deno.writeTextFile(path, JSON.stringify(settings));
      const tokenizer = await ModelTokenizer.load(
        folder,
        tokenizerDefaults(electra),
        64,
      );
      assertEquals(tokenizer.encode("b").ids.length, 3);
      const error = assertThrows(
        () => tokenizer.encode(`${"a".repeat(50)} !`),
        SyntaxError,
        "takes more than 2 seconds for a text of 52 characters",
      );
      assert(error.message.includes(path));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("textTokenizer().encode() refuses a normalizer that multiplies a text", async () => {
  const doubled = { type: "Replace", pattern: { Regex: "." }, content: "aa" };
  const long = { ...doubled, content: "a".repeat(1e6) };
  for (
    const normalizers of [
      Array(60).fill(doubled),
      [{ type: "Sequence", normalizers: Array(60).fill(doubled) }],
      [long],
    ]
  ) {
    const normalizer = { type: "Sequence", normalizers };
    const settings = await settingsOf("tiny-electra", { normalizer });
    assertThrows(
      () => textTokenizer(settings).encode("a text ".repeat(100)),
      RangeError,
      "The normalizer makes ",
    );
  }
});

Deno.test("textTokenizer() names what it does not support", async () => {
  const refusals: [string, object, string][] = [
    ["tiny-electra", { normalizer: { type: "ByteLevel" } }, "Normalizer"],
    ["tiny-electra", { pre_tokenizer: { type: "X" } }, "Pre-tokenizer"],
    ["tiny-electra", { model: { type: "WordLevel" } }, 'Model "WordLevel"'],
    [
      "tiny-electra",
      {
        added_tokens: [{ id: 7, content: "[PAD]" }],
      },
      'Added token "[PAD]" has id 7, but the vocabulary gives it 0',
    ],
    [
      "tiny-electra",
      {
        post_processor: {
          type: "TemplateProcessing",
          single: [{ SpecialToken: { id: "[X]" } }],
          pair: [],
          special_tokens: {},
        },
      },
      'no ids for "[X]"',
    ],
    [
      "tiny-xlm-roberta",
      { normalizer: { type: "Precompiled", precompiled_charsmap: "AAAA" } },
      '"precompiled_charsmap" is damaged',
    ],
  ];
  for (const [model, changes, message] of refusals) {
    const settings = await settingsOf(model, changes);
    assertThrows(() => textTokenizer(settings), RangeError, message);
  }
  const { model } = await settingsOf("tiny-modernbert");
  const settings = await settingsOf("tiny-modernbert", {
    model: { ...model, dropout: 0.1 },
  });
  assertThrows(() => textTokenizer(settings), Error, "not supported");
});

Deno.test("textTokenizer().encode() takes time linear in the length of a text", async () => {
  const words = "a".repeat(50_000);
  const texts = [
    words,
    `${words.replaceAll("aa", "a ")}!`,
    `${" ".repeat(50_000)}.`,
    "[MASK] <mask>".repeat(4_000),
    "\u96fb\u00e9".repeat(20_000),
    "\ud83d\udc69\u200d".repeat(10_000),
  ];
  for (const model of ["electra", "modernbert", "xlm-roberta", "deberta"]) {
    const settings = await settingsOf(`tiny-${model}`);
    const tokenizer = textTokenizer(settings);
    for (const text of texts) {
      const start = cpuUsage();
      tokenizer.encode(text);
      const { user, system } = cpuUsage(start);
      // Some 50 ms; quadratic time would be minutes.
      assert(user + system < 5e6, `${model}: ${text.slice(0, 20)}`);
    }
  }
});

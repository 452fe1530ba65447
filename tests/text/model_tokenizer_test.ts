import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import fc from "fast-check";
import {
  GLUE_TASKS,
  type GlueTask,
  readSplit,
} from "../../lib/benchmarks/glue.ts";
import { framed } from "../../lib/text/frame.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import {
  ARCHITECTURES,
  tokenizerDefaults,
} from "../../lib/engine/models/registry.ts";
import reference from "../../fixtures/tokenization.json" with { type: "json" };

const fixtures = join(import.meta.dirname!, "../../fixtures");

for (const family of ["bert", "roberta"] as const) {
  Deno.test(`ModelTokenizer.encode() equals transformers for a tiny ${family}, pairs and truncation included`, async () => {
    const cases = reference.tiny.filter(({ model }) =>
      model === `tiny-${family}`
    );
    assert(cases.length > 50);
    for (const { model, text, pair, maxLength, ids, types } of cases) {
      const tokenizer = await ModelTokenizer.load(
        join(fixtures, model),
        tokenizerDefaults(architectureOf(family)),
        maxLength,
      );
      const encoding = tokenizer.encode(text, pair ?? undefined);
      const input = JSON.stringify({ text, pair, maxLength });
      assertEquals(encoding.ids.join(" "), ids, input);
      assertEquals(encoding.types.join(" "), types, input);
    }
  });
}

const glue = Deno.env.get("DYLORA_GLUE");
const minilm = Deno.env.get("DYLORA_MINILM");
for (const { file, maxLength, tokens, sha256 } of reference.minilm) {
  Deno.test({
    name:
      `ModelTokenizer.encode() equals transformers for MiniLM on every line of ${file}, cut to ${maxLength}`,
    ignore: glue === undefined || minilm === undefined,
    async fn() {
      const task = Object.values<GlueTask>(GLUE_TASKS).find(({ title }) =>
        file.startsWith(title)
      );
      const { examples } = await readSplit(join(glue!, file), task!, "train");
      const tokenizer = await ModelTokenizer.load(
        minilm!,
        tokenizerDefaults(architectureOf("bert")),
        maxLength,
      );
      const hash = createHash("sha256");
      let count = 0;
      for (const { text, pair } of examples) {
        const { ids, types } = tokenizer.encode(text, pair);
        hash.update(new Int32Array([ids.length, ...ids, ...types]));
        count += ids.length;
      }
      assertEquals(count, tokens);
      assertEquals(hash.digest("hex"), sha256);
    },
  });
}

Deno.test("ModelTokenizer.encode() cuts the beginnings of texts where either file says so", async () => {
  const change = async (folder: string, file: string, changes: object) => {
    const path = join(folder, file);
    const settings = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...settings, ...changes }));
  };
  for (
    const [file, changes] of [
      ["tokenizer_config.json", { truncation_side: "left" }],
      ["tokenizer.json", {
        truncation: {
          ...{ direction: "Left", strategy: "LongestFirst" },
          ...{ max_length: 128, stride: 0 },
        },
      }],
    ] as const
  ) {
    const folder = await Deno.makeTempDir();
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      await Deno.copyFile(
        join(fixtures, "tiny-bert", name),
        join(folder, name),
      );
    }
    await change(folder, file, changes);
    const load = (length: number) =>
      ModelTokenizer.load(
        folder,
        tokenizerDefaults(architectureOf("bert")),
        length,
      );
    const text = "great fun , a good film";
    // As transformers 5.24.0 gives them.
    const [one, two] = [await load(6), await load(9)];
    assertEquals(one.encode(text).ids, [2, 82, 5, 99, 89, 3]);
    assertEquals(two.encode(text, "a bad plot").ids, [
      ...[2, 5, 99, 89, 3],
      ...[5, 107, 93, 3],
    ]);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("ModelTokenizer.encode() follows the tokenizer where it is not the one that the architecture usually has, as in BERTs with the tokenizer of RoBERTa", async () => {
  const pairs = reference.tiny.filter(({ model, pair }) =>
    model === "tiny-roberta" && pair !== null
  );
  assert(pairs.length > 10);
  for (const { model, text, pair, maxLength, ids } of pairs) {
    const tokenizer = await ModelTokenizer.load(
      join(fixtures, model),
      tokenizerDefaults(architectureOf("bert")),
      maxLength,
    );
    const encoding = tokenizer.encode(text, pair!);
    assertEquals(encoding.ids.join(" "), ids);
    assertEquals(encoding.types, encoding.ids.map(() => 0));
  }
});

Deno.test("ModelTokenizer.encode() gives token types if the configuration of the tokenizer names them as input of the model, otherwise by its class", async () => {
  const named = { model_input_names: ["input_ids", "token_type_ids"] };
  for (
    const [config, type] of [
      [{}, 1],
      [{ model_input_names: null }, 1],
      [{ model_input_names: ["input_ids"] }, 0],
      [{ tokenizer_class: "DistilBertTokenizer" }, 0],
      [{ tokenizer_class: "DistilBertTokenizer", ...named }, 1],
      // As transformers 4.
      [{ tokenizer_class: "PreTrainedTokenizerFast" }, 1],
      [{ tokenizer_class: "TokenizersBackend" }, 1],
    ] as const
  ) {
    const folder = await Deno.makeTempDir();
    await Deno.copyFile(
      join(fixtures, "tiny-bert/tokenizer.json"),
      join(folder, "tokenizer.json"),
    );
    await Deno.writeTextFile(
      join(folder, "tokenizer_config.json"),
      JSON.stringify(config),
    );
    const tokenizer = await ModelTokenizer.load(
      folder,
      tokenizerDefaults(architectureOf("bert")),
      64,
    );
    const { types } = tokenizer.encode("great", "bad");
    assertEquals(types, [0, 0, 0, type, type], JSON.stringify(config));
    await Deno.remove(folder, { recursive: true });
  }
});

/** The tokenizer of tiny-bert, which frames pairs otherwise. */
function withOtherFrame(): string {
  const settings = JSON.parse(
    Deno.readTextFileSync(join(fixtures, "tiny-bert/tokenizer.json")),
  );
  const piece = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const [a, b] = ["A", "B"].map((id) => ({ Sequence: { id, type_id: 0 } }));
  const special = (id: number, token: string) => ({
    [token]: { id: token, ids: [id], tokens: [token] },
  });
  settings.post_processor = {
    type: "TemplateProcessing",
    single: [piece("[CLS]"), a, piece("[SEP]")],
    pair: [piece("[CLS]"), a, piece("[CLS]"), b, piece("[SEP]")],
    special_tokens: { ...special(2, "[CLS]"), ...special(3, "[SEP]") },
  };
  return JSON.stringify(settings);
}

/** Files that take the place of those of tiny-bert, and parts of the message. */
const REFUSED: Readonly<
  Record<
    string,
    readonly [
      file: "tokenizer.json" | "tokenizer_config.json",
      text: () => string,
      ...message: string[],
    ]
  >
> = {
  "a wrong value in the configuration": [
    "tokenizer_config.json",
    () => '{"do_lower_case": "no"}',
    "tokenizer_config.json",
    "do_lower_case",
  ],
  "special tokens in other places": [
    "tokenizer.json",
    withOtherFrame,
    "does not place its special tokens as the supported models expect",
  ],
  "half of an object": ["tokenizer.json", () => "{", "tokenizer.json"],
  "an empty object": ["tokenizer.json", () => "{}", "tokenizer.json"],
  "a model without a vocabulary": [
    "tokenizer.json",
    () => '{"model": {"type": "BPE"}}',
    "tokenizer.json",
  ],
  "a list": ["tokenizer.json", () => "[]", "tokenizer.json"],
};

for (const [what, [file, text, ...message]] of Object.entries(REFUSED)) {
  Deno.test(`ModelTokenizer.load() refuses ${what}, and names it`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.copyFile(
        join(fixtures, "tiny-bert/tokenizer.json"),
        join(folder, "tokenizer.json"),
      );
      await Deno.writeTextFile(join(folder, file), text());
      const defaults = tokenizerDefaults(architectureOf("bert"));
      const error = await assertRejects(
        () => ModelTokenizer.load(folder, defaults, 64),
        SyntaxError,
      );
      for (const part of message) {
        const isFile = part.endsWith(".json");
        const shown = isFile ? join(folder, part) : part;
        assertStringIncludes(error.message, shown);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("framed() uses all the room and never lengthens a text", () => {
  const length = fc.nat(40);
  const frame = { single: ["A"], pair: ["A", "B"], pairType: 1 } as const;
  fc.assert(
    fc.property(
      length,
      length,
      length,
      fc.boolean(),
      (a, b, room, cutsLeft) => {
        const texts = [Array(a).fill(0), Array(b).fill(1)];
        const { ids } = framed(texts, { ...frame, cutsLeft }, room);
        const second = ids.filter((id) => id === 1).length;
        assert(ids.length - second <= a && second <= b);
        assertEquals(ids.length, Math.min(room, a + b));
      },
    ),
  );
});

function architectureOf(family: string) {
  return ARCHITECTURES.find(({ type }) => type === family)!;
}

Deno.test("ModelTokenizer.encodeWords() reads each word at its first token, once, in the window where it has more context", async () => {
  const text = "the film is un-believably great , clever and clumsy . ".repeat(
    6,
  ).trim();
  const words = Array.from(
    text.matchAll(/[^ ]+/g),
    ({ index, 0: { length } }): [number, number] => [index, index + length],
  );
  for (
    const name of ["bert", "roberta", "deberta", "xlm-roberta", "modernbert"]
  ) {
    const load = (maxLength: number) =>
      ModelTokenizer.load(
        join(fixtures, `tiny-${name}`),
        tokenizerDefaults(
          architectureOf(name === "deberta" ? "deberta-v2" : name),
        ),
        maxLength,
      );
    const whole = await load(4096);
    const [only, ...none] = whole.encodeWords(text, words);
    assertEquals(none, []);
    assertEquals(only!.ids, whole.encode(text).ids);
    assertEquals(only!.firsts.map(({ word }) => word), [...words.keys()]);
    const maxLength = 20;
    const windows = (await load(maxLength)).encodeWords(text, words);
    assert(windows.length > 4);
    assertEquals(
      windows.flatMap(({ firsts }) => firsts.map(({ word }) => word)),
      [...words.keys()],
    );
    windows.forEach(({ ids, firsts }, i) => {
      assertEquals(ids.length, maxLength);
      for (const { token, word } of firsts) {
        // The same token as in the whole text, and 2 tokens of context at least.
        const { token: inWhole } = only!.firsts[word]!;
        assertEquals(ids[token], only!.ids[inWhole]);
        assert(i === 0 || token > 2);
        assert(i === windows.length - 1 || token < maxLength - 2);
      }
    });
  }
});

Deno.test("ModelTokenizer.encodeWords() skips a word without tokens", async () => {
  const tokenizer = await ModelTokenizer.load(
    join(fixtures, "tiny-bert"),
    tokenizerDefaults(architectureOf("bert")),
    64,
  );
  const [window] = tokenizer.encodeWords("the \u200b film", [
    [0, 3],
    [4, 5],
    [6, 10],
  ]);
  assertEquals(window!.firsts.map(({ word }) => word), [0, 2]);
});

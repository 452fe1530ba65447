/** Entities that the module for users finds, beside those of the engine. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { Classification } from "../../lib/artifacts/predictions.ts";
import { readModel } from "../../lib/artifacts/model.ts";
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { load } from "../../lib/serve/classifier.ts";
import { TextEncoding } from "../../lib/serve/text_encoding.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import { fixture, tinyEncoders } from "../engine/reference.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { randomAdapterFolder } from "../tasks/random_adapter.ts";

const LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"];
const WORDS = { before: "@", between: "-", behind: "" };
const TEXTS = [
  "\u{1f600} @anna\u{301}'s so-so film (the   2nd) isn't \u200b bad... in ROME.",
  "",
  " A film that stays, and nobody came to see it! ".repeat(4),
];

for (const name of tinyEncoders) {
  Deno.test(`load() finds the entities that classify finds, at three ranks and in windows, ${name}`, () =>
    withEngineStages(async ({ folder, run }) => {
      const model = fixture(`tiny-${name}`);
      const adapter = await randomAdapterFolder(folder, model, {
        problem: "tokens",
        labels: LABELS,
        words: WORDS,
        maxLength: 24,
      });
      const given = { model, adapter };
      const classify = await load(await run("export-onnx", {}, given));
      assertEquals([classify.problem, classify.labels], ["tokens", LABELS]);
      let found = 0;
      for (const rank of [1, 2, 4]) {
        const texts = TEXTS.map((text) => ({ text }));
        const params = { texts, rank, precision: "f32" };
        const output = await run("classify", params, given);
        const { texts: expected }: Classification = JSON.parse(
          await Deno.readTextFile(join(output, "classification.json")),
        );
        const answers = await classify(TEXTS, { rank, batchSize: 2 });
        for (const [i, { entities, score }] of answers.entries()) {
          const text = TEXTS[i]!;
          assert(score > 0 && score <= 1);
          for (const { start, end, text: part } of entities!) {
            assertEquals(text.slice(start, end), part);
          }
          const shown = (it: typeof entities) =>
            it!.map(({ text, label, probability }) => [
              ...[text, label, probability.toFixed(3)],
            ]);
          assertEquals(shown(entities), shown(expected[i]!.entities));
          found += entities!.length;
        }
      }
      assert(found > 0);
      await assertRejects(
        () => classify([{ text: "a", pair: "b" }]),
        TypeError,
        "Text 1 is a pair, and this adapter finds entities in single texts",
      );
      await classify.release();
    }));
}

/** A tiny model's tokenizers: that of the training and that of the module for users. */
async function encodingsOf(name: string) {
  const model = fixture(`tiny-${name}`);
  const { architecture } = readModel(model);
  const training = await ModelTokenizer.load(
    model,
    tokenizerDefaults(architecture),
    24,
  );
  const [tokenizer, config] = ["tokenizer", "tokenizer_config"].map((it) =>
    JSON.parse(Deno.readTextFileSync(join(model, `${it}.json`)))
  );
  const served = new TextEncoding(tokenizer, config, training.frame);
  return { training, served };
}

for (const name of tinyEncoders) {
  Deno.test(`encodeWords() reads words where the training does, behind long gaps and any white space, ${name}`, async () => {
    const { training, served } = await encodingsOf(name);
    const blob = "x".repeat(2500);
    for (
      const text of [
        "a film \u00a0 in\u00a0rome\u3000a film",
        `anna saw ${blob} in rome . anna saw it`,
        `anna saw${" ".repeat(2500)}it\n${"\n".repeat(2500)}in rome .`,
      ]
    ) {
      const { words, windows } = served.encodeWords(text, undefined, 24, 0);
      assertEquals(
        windows.map((it) => it.firsts),
        training.encodeWords(text, words).map((it) => it.firsts),
      );
    }
  });
}

Deno.test("encodeWords() reads each word of a long text once, in time that grows with its length", async () => {
  for (const name of ["bert", "roberta", "xlm-roberta"]) {
    const { served } = await encodingsOf(name);
    for (const part of ["a.", "film, "]) {
      const text = part.repeat(12_000 / part.length);
      const { words, windows } = served.encodeWords(text, undefined, 24, 0);
      const read = windows.flatMap(({ firsts }) => firsts.map((it) => it.word));
      assertEquals(new Set(read).size, read.length);
      // Of SentencePiece, words far behind the last white space are not found.
      if (name !== "xlm-roberta" || part === "film, ") {
        assertEquals(read.length, words.length);
      }
    }
  }
});

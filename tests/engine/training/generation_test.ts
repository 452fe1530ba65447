/** Texts beside those of transformers' generate() with PEFT's adapters (fixtures/generation.py), in float32. */
import { assertEquals, assertRejects } from "@std/assert";
import cases from "../../../fixtures/references/generation.json" with {
  type: "json",
};
import * as tf from "@tensorflow/tfjs-core";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { forwardFlops, withHead } from "../../../lib/engine/models/outline.ts";
import { fromTensors } from "../../../lib/engine/models/parameters.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import {
  generator,
  type GeneratorOptions,
  lastReader,
} from "../../../lib/engine/training/generation.ts";
import "../engine.ts";
import { productFlops } from "../flops.ts";
import { fixture, openReference } from "../reference.ts";
import { settings } from "../reference_step.ts";

const { alpha, rank } = settings;

const idsOf = (texts: readonly string[]) =>
  texts.map((it) => it === "" ? [] : it.split(" ").map(Number));

function opened(name: string) {
  const reference = openReference(name);
  const model = withHead(reference.model, "language");
  const classifier = loadClassifier(reference.file, model, 1, { rank });
  using figures = SafetensorsFile.open(
    fixture(`references/${name}-language.safetensors`),
  );
  const values = fromTensors(
    (name) => figures.floats(`adapter.${name}`),
    classifier.layout,
    "base_model.model.",
  );
  return { classifier, values };
}

for (const { name, tokens, ends, penalty, prompts, ...texts } of cases) {
  for (const way of ["greedy", "beams"] as const) {
    Deno.test(`generator() writes the tokens of transformers at two ranks side by side, ${way}, ${name}`, async () => {
      const { classifier, values } = opened(name);
      using generate = generator(classifier, {
        alpha,
        scaling: "rank",
        beams: way === "beams" ? 4 : 1,
        lengthPenalty: penalty,
        maxTokens: tokens,
        ends,
        batchSize: 25,
      });
      const expected = Object.values(texts[way]).map(idsOf);
      const ranks = Object.keys(texts[way]).map(Number);
      assertEquals(await generate(values, ranks, idsOf(prompts)), expected);
    });
  }
}

const [first] = cases as [typeof cases[number]];
const greedy: GeneratorOptions = {
  ...{ alpha, scaling: "rank", beams: 1, lengthPenalty: 1 },
  ...{ maxTokens: first.tokens, ends: first.ends, batchSize: 3 },
};

Deno.test("generator() tells each text as it grows, and frees all tensors", async () => {
  const { classifier, values } = opened(first.name);
  const { numTensors } = tf.memory();
  const told: number[][] = [];
  const done: number[] = [];
  const prompts = idsOf(first.prompts).slice(0, 5);
  {
    using generate = generator(classifier, greedy);
    const texts = await generate(values, [1, 4], prompts, {
      progress: (prompts) => done.push(prompts),
      written: (prompt, rank, tokens) => {
        if (prompt === 4 && rank === 1) told.push([...tokens]);
      },
    });
    assertEquals(texts[1]!, idsOf(first.greedy[4]).slice(0, 5));
    const expected = texts[1]![4]!;
    assertEquals(told, expected.map((_, i) => expected.slice(0, i + 1)));
  }
  assertEquals(done, [3, 5]);
  assertEquals(tf.memory().numTensors, numTensors);
});

Deno.test("generator() names a prompt that is empty, or too long for what is to be written", async () => {
  const { classifier, values } = opened(first.name);
  using generate = generator(classifier, greedy);
  const prompts = (length: number) => [[5], Array<number>(length).fill(5)];
  await assertRejects(
    () => generate(values, [1], prompts(0)),
    RangeError,
    "Prompt 2 is empty",
  );
  await assertRejects(
    () => generate(values, [1], prompts(45)),
    RangeError,
    "Prompt 2 has 45 tokens, and with 20 to write these are more than the 64",
  );
  assertEquals((await generate(values, [1], prompts(44)))[0]!.length, 2);
});

Deno.test("forwardFlops() counts the products of a generator: of a prompt for its last token, of a token with those before it", async () => {
  const { classifier, values } = opened(first.name);
  const prompt = Array.from({ length: 16 }, (_, i) => i + 5);
  const options = { ...greedy, ends: [] };
  const flopsOf = (maxTokens: number) =>
    productFlops(async () => {
      using generate = generator(classifier, { ...options, maxTokens });
      await generate(values, [2, 4], [prompt]);
    });
  const reader = { ...classifier, model: lastReader(classifier.model) };
  const read = forwardFlops(reader, [1, 16], 2);
  assertEquals(await flopsOf(1), read);
  // Of two tokens, the second takes a step, whose cache has places for both.
  const step = forwardFlops(reader, [1, 1], 1, 16 + 2 - 1);
  assertEquals(await flopsOf(2), read + 2 * step);
});

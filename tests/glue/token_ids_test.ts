/** Compares token ids with those of transformers, by fixtures/token_ids.json. */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import reference from "../../fixtures/token_ids.json" with { type: "json" };
import { Random } from "../../fixtures/make/random.ts";
import {
  ModelTokenizer,
  type Wrapping,
} from "../../lib/glue/model_tokenizer.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

/** Separators between the texts of a pair; types are not compared here. */
const SEPARATORS: Readonly<Record<string, 1 | 2>> = {
  "tiny-roberta": 2,
  "tiny-xlm-roberta": 2,
  "tiny-camembert": 2,
  "tiny-mpnet": 2,
};

function wrapping(model: string): Wrapping {
  return { title: model, separators: SEPARATORS[model] ?? 1, pairType: 0 };
}

/** The text that text_of() of fixtures/token_ids.py makes. */
function textOf(random: Random): string {
  const { fragments } = reference;
  let text = "";
  for (let left = random.below(12); left > 0; left--) {
    text += fragments[random.below(fragments.length)];
    if (random.below(3) > 0) text += " ";
  }
  return text;
}

function inputOf(seed: number) {
  const random = new Random(seed);
  const paired = random.below(2) === 1;
  const text = textOf(random);
  return { text, pair: paired ? textOf(random) : undefined };
}

/** Compares all texts with the hashes of a folder's tokenizer, and the first ones with their ids. */
async function compare(
  folder: string,
  wrapping: Wrapping,
  blocks: readonly string[],
  shown: readonly string[],
) {
  const whole = await ModelTokenizer.load(folder, wrapping, 4096);
  const cut = await ModelTokenizer.load(folder, wrapping, reference.width);
  const own = blocks.map((_, block) => {
    const hash = createHash("sha256");
    for (let i = 0; i < reference.block; i++) {
      const seed = block * reference.block + i;
      const { text, pair } = inputOf(seed);
      const { ids } = (seed % 4 === 3 ? cut : whole).encode(text, pair);
      if (seed < shown.length) {
        assertEquals(ids.join(" "), shown[seed], JSON.stringify([text, pair]));
      }
      hash.update(new Int32Array([ids.length, ...ids]));
    }
    return hash.digest("hex").slice(0, 16);
  });
  assertEquals(own, blocks);
}

for (const { model, blocks, ids } of reference.models) {
  if (ids === undefined) continue;
  Deno.test(`ModelTokenizer.encode() gives the ids of transformers to 1,000 texts and pairs for ${model}`, async () => {
    await compare(join(fixtures, model), wrapping(model), blocks, ids);
  });
}

for (const { model, blocks, changes } of reference.models) {
  if (changes === undefined) continue;
  Deno.test(`ModelTokenizer.encode() gives the ids of the Rust library for ${model} with ${JSON.stringify(changes).slice(0, 300)}`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const path = join(fixtures, model, "tokenizer.json");
      const settings = JSON.parse(await Deno.readTextFile(path));
      await Deno.writeTextFile(
        join(folder, "tokenizer.json"),
        JSON.stringify({ ...settings, ...changes }),
      );
      await compare(folder, wrapping(model), blocks, []);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

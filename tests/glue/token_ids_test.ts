/** Compares token ids with those of transformers, by fixtures/token_ids.json. */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import reference from "../../fixtures/token_ids.json" with { type: "json" };
import { Random } from "../../fixtures/make/random.ts";
import { parseModel } from "../../lib/engine/models/registry.ts";
import { normalizer } from "../../lib/glue/normalizer.ts";
import { preTokenizer } from "../../lib/glue/pre_tokenizer.ts";
import { ModelTokenizer } from "../../lib/glue/model_tokenizer.ts";
import { withFolder } from "../tasks/run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

/** The token type of the second text of a pair, in the architecture that a folder's `config.json` names. */
async function pairTypeOf(folder: string): Promise<0 | 1> {
  const text = await Deno.readTextFile(join(folder, "config.json"));
  return parseModel(text).architecture.pairType;
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
  pairType: 0 | 1,
  blocks: readonly string[],
  shown: readonly string[],
) {
  const whole = await ModelTokenizer.load(folder, pairType, 4096);
  const cut = await ModelTokenizer.load(folder, pairType, reference.width);
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

/** Calls a function with a folder of a tiny tokenizer whose files are changed. */
function withChanges(
  model: string,
  settings: object,
  config: object,
  test: (folder: string) => Promise<void>,
) {
  return withFolder(async (folder) => {
    for (
      const [name, changes] of [
        ["tokenizer.json", settings],
        ["tokenizer_config.json", config],
      ] as const
    ) {
      const sound = await Deno.readTextFile(join(fixtures, model, name));
      const changed = { ...JSON.parse(sound), ...changes };
      await Deno.writeTextFile(join(folder, name), JSON.stringify(changed));
    }
    await test(folder);
  });
}

for (
  const { model, blocks, ids = [], settings = {}, config = {} } of reference
    .models
) {
  const changes = Object.keys({ ...settings, ...config }).length === 0
    ? ""
    : ` with ${JSON.stringify({ ...settings, ...config }).slice(0, 200)}`;
  Deno.test(`ModelTokenizer.encode() gives the ids of transformers to ${blocks.length * reference.block} texts and pairs for ${model}${changes}`, async () => {
    await withChanges(model, settings, config, async (folder) => {
      const pairType = await pairTypeOf(join(fixtures, model));
      await compare(folder, pairType, blocks, ids);
    });
  });
}

for (const { sha256, ...settings } of reference.sweeps) {
  Deno.test(`${JSON.stringify(settings)} treats every character as the Rust library does`, () => {
    const normalize = normalizer(settings.normalizer);
    const split = preTokenizer(settings.pre_tokenizer);
    const hash = createHash("sha256");
    for (const [start, end] of reference.runs as [number, number][]) {
      for (let first = start; first < end; first += 16) {
        const text = Array.from({ length: 16 }, (_, i) => {
          const character = String.fromCodePoint(first + i);
          return ` a${character}b${character}\u0301`;
        }).join("");
        const { texts } = split({ texts: [normalize(text)], atStart: true });
        hash.update([...texts, ""].join("\n"));
      }
    }
    assertEquals(hash.digest("hex"), sha256);
  });
}

const glue = Deno.env.get("DYLORA_GLUE");
const mpnet = Deno.env.get("DYLORA_MPNET");
Deno.test({
  name:
    "ModelTokenizer.encode() gives the ids of transformers to 1,000 texts and real lines for MPNet",
  ignore: glue === undefined || mpnet === undefined,
  async fn() {
    const { random, lines, tokens, sha256 } = reference.mpnet;
    const pairType = await pairTypeOf(mpnet!);
    await compare(mpnet!, pairType, random, []);
    const tokenizer = await ModelTokenizer.load(
      mpnet!,
      pairType,
      128,
    );
    const hash = createHash("sha256");
    let [count, total] = [0, 0];
    for (const name of ["CoLA", "MRPC", "RTE", "SST-2", "STS-B", "WNLI"]) {
      const text = await Deno.readTextFile(join(glue!, name, "dev.tsv"));
      for (const line of text.replace("\ufeff", "").split("\n")) {
        const { ids } = tokenizer.encode(line);
        hash.update(new Int32Array([ids.length, ...ids]));
        count++;
        total += ids.length;
      }
    }
    assertEquals([count, total], [lines, tokens]);
    assertEquals(hash.digest("hex"), sha256);
  },
});

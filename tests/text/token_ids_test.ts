/** Compares token ids with those of transformers, by fixtures/token_ids.json. */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import reference from "../../fixtures/token_ids.json" with { type: "json" };
import { Random } from "../../fixtures/random.ts";
import type { Architecture } from "../../lib/engine/models/model.ts";
import {
  parseModel,
  tokenizerDefaults,
} from "../../lib/engine/models/registry.ts";
import { AlignedText } from "../../lib/text/aligned_text.ts";
import { normalizer } from "../../lib/text/normalizer.ts";
import { preTokenizer } from "../../lib/text/pre_tokenizer.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import { textTokenizer } from "../../lib/text/text_tokenizer.ts";
import { readTokenizerFiles } from "../../lib/text/tokenizer_files.ts";
import { withFolder } from "../tasks/run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

/** The architecture that a folder's `config.json` names. */
async function architectureOf(folder: string): Promise<Architecture> {
  const text = await Deno.readTextFile(join(folder, "config.json"));
  return parseModel(text).architecture;
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
  architecture: Architecture,
  blocks: readonly string[],
  shown: readonly string[],
) {
  const whole = await ModelTokenizer.load(
    folder,
    tokenizerDefaults(architecture),
    4096,
  );
  const cut = await ModelTokenizer.load(
    folder,
    tokenizerDefaults(architecture),
    reference.width,
  );
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

/** Changes of the files of a tiny tokenizer: fields of two, and the other two whole, null if it is absent. */
interface Changes {
  readonly settings?: object;
  readonly config?: object;
  readonly files?: {
    readonly "tokenizer_config.json"?: object | null;
    readonly "config.json"?: object;
  };
}

/** Calls a function with a folder of a tiny tokenizer whose files are changed. */
function withChanges(
  model: string,
  { settings, config, files = {} }: Changes,
  test: (folder: string) => Promise<void>,
) {
  return withFolder(async (folder) => {
    const changes = {
      "tokenizer.json": settings,
      "tokenizer_config.json": config,
      "config.json": files["config.json"],
    };
    for (const [name, changed] of Object.entries(changes)) {
      const sound = JSON.parse(
        await Deno.readTextFile(join(fixtures, model, name)),
      );
      await Deno.writeTextFile(
        join(folder, name),
        JSON.stringify({ ...sound, ...changed }),
      );
    }
    const whole = files["tokenizer_config.json"];
    const path = join(folder, "tokenizer_config.json");
    if (whole === null) await Deno.remove(path);
    if (whole) await Deno.writeTextFile(path, JSON.stringify(whole));
    await test(folder);
  });
}

for (
  const { model, blocks, places, ids = [], ...changes } of reference.models
) {
  const title = Object.keys(changes).length === 0
    ? ""
    : ` with ${JSON.stringify(changes).slice(0, 300)}`;
  Deno.test(`ModelTokenizer.encode() gives the ids of transformers to ${blocks.length * reference.block} texts and pairs for ${model}${title}`, async () => {
    await withChanges(model, changes as Changes, async (folder) => {
      await compare(folder, await architectureOf(folder), blocks, ids);
    });
  });
  if (places === undefined) continue;
  Deno.test(`textTokenizer().encodePlaced() places tokens where transformers does for ${model}${title}`, async () => {
    await withChanges(model, changes as Changes, async (folder) => {
      const defaults = tokenizerDefaults(await architectureOf(folder));
      const { settings, changes } = await readTokenizerFiles(folder, defaults);
      const tokenizer = textTokenizer({ ...settings, ...changes });
      const hash = createHash("sha256");
      for (let seed = 0; seed < 3 * reference.block; seed++) {
        const { text } = inputOf(seed);
        // deno-lint-ignore no-control-regex -- see fixtures/token_ids.py
        if (/[\x00-\x1f\x7f]/.test(text)) continue;
        const row = tokenizer.encodePlaced(text).spans.flat();
        hash.update(new Int32Array([row.length, ...row]));
      }
      assertEquals(hash.digest("hex").slice(0, 16), places);
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
        const { texts } = split({
          texts: [normalize(new AlignedText(text))],
          atStart: true,
        });
        hash.update([...texts.map(({ text }) => text), ""].join("\n"));
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
    const architecture = await architectureOf(mpnet!);
    await compare(mpnet!, architecture, random, []);
    const tokenizer = await ModelTokenizer.load(
      mpnet!,
      tokenizerDefaults(architecture),
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

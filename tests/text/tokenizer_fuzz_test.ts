import { assert, assertEquals } from "@std/assert";
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bert } from "../../lib/engine/models/bert.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import { mutatedBytes, mutatedJson, survives, testProperty } from "../fuzz.ts";
import { withFolder } from "../tasks/run_task.ts";

/** Models with tokenizers of each kind. */
const FAMILIES = ["bert", "roberta", "modernbert", "deberta"];

const TEXT = "A film, of 2 ideas; ünlike\tany [MASK] 😀 other!";

function withFile(test: (path: string) => Promise<void>) {
  return withFolder((folder) => test(join(folder, "tokenizer.json")));
}

function tokenizerOf(name: string): Uint8Array {
  const fixture = `../../fixtures/${name}/tokenizer.json`;
  return Deno.readFileSync(fileURLToPath(import.meta.resolve(fixture)));
}

/** Loads a tokenizer; if that can be done, any text is encoded as numbers, or the file is blamed. */
async function load(path: string): Promise<void> {
  const tokenizer = await ModelTokenizer.load(
    join(path, ".."),
    tokenizerDefaults(bert),
    20,
  );
  for (const [text, pair] of [[TEXT], [TEXT, TEXT], ["", " "]] as const) {
    const { ids, types } = tokenizer.encode(text, pair);
    assertEquals(ids.length, types.length);
    assert(ids.length <= 20);
    for (const id of ids) {
      assert(Number.isSafeInteger(id) && id >= 0, `token id ${id}`);
    }
  }
}

for (const family of FAMILIES) {
  testProperty(
    `ModelTokenizer.load() takes or refuses any settings like those of tiny-${family}`,
    () =>
      withFile(async (path) => {
        const sound = JSON.parse(
          new TextDecoder().decode(tokenizerOf(`tiny-${family}`)),
        );
        await survives(mutatedJson(sound), path, async (settings) => {
          Deno.writeTextFileSync(path, JSON.stringify(settings) ?? "");
          await load(path);
        });
      }),
  );
}

testProperty(
  "ModelTokenizer.load() takes or refuses a file with any damage",
  () =>
    withFile(async (path) => {
      const damaged = mutatedBytes(tokenizerOf("tiny-bert"));
      await survives(damaged, path, async (bytes) => {
        Deno.writeFileSync(path, bytes);
        await load(path);
      });
    }),
);

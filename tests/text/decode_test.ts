import { assertEquals } from "@std/assert";
import cases from "../../fixtures/references/generation.json" with {
  type: "json",
};
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { readModel } from "../../lib/artifacts/model.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import { fixture } from "../engine/reference.ts";

for (const { name, beams, decoded = [] } of cases) {
  Deno.test({
    name: `ModelTokenizer.decode() gives the texts of transformers, ${name}`,
    ignore: decoded.length === 0,
    fn: async () => {
      const folder = fixture(`tiny-${name}`);
      const { architecture, padId } = readModel(folder);
      const defaults = tokenizerDefaults(architecture);
      const tokenizer = await ModelTokenizer.load(folder, defaults, 64);
      const ids = beams[4].map((it) => it.split(" ").map(Number));
      const given = ids.map((it) => tokenizer.decode(it));
      assertEquals(given, decoded);
      assertEquals(tokenizer.decode([...tokenizer.ends(false), padId]), "");
      assertEquals(tokenizer.decode([]), "");
    },
  });
}

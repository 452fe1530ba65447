import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { tokenizerDefaultsOf } from "../../lib/artifacts/tokenizer.ts";
import {
  readTokens,
  readTokensInfo,
  writeTokens,
} from "../../lib/artifacts/tokens.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";

const model = join(import.meta.dirname!, "../../fixtures/tiny-bert");

function load(): Promise<ModelTokenizer> {
  return ModelTokenizer.load(model, tokenizerDefaultsOf(model), 32);
}

Deno.test("readTokens() gives the sequences of examples and their rows of targets as they were encoded", async () => {
  const tokenizer = await load();
  const [examples] = tokenizer.encodeAll([
    { index: 3, text: "a good film", others: ["good"], targets: [1, 0, 1] },
    { index: 5, text: "bad", others: ["a bad film"], targets: [0, 0, 0] },
  ], 1e6);
  assertEquals(examples.sequencesPerExample, 2);
  assertEquals([...examples.index], [3, 5]);
  assertEquals(examples.offsets.length, 5);
  assertEquals(
    [...examples.ids.subarray(examples.offsets[1], examples.offsets[2])],
    tokenizer.encode("good").ids,
  );
  assertEquals([...examples.labels!], [1, 0, 1, 0, 0, 0]);
  const folder = await Deno.makeTempDir();
  try {
    await writeTokens(folder, {
      task: "data",
      problem: "regression",
      labels: null,
      metrics: ["pearson"],
      maxLength: 32,
      vocabSize: 1000,
      tokenizer: "0".repeat(64),
    }, { train: examples });
    const info = await readTokensInfo(folder);
    assertEquals(info.splits, { train: 2 });
    assertEquals(readTokens(folder, info, "train"), examples);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("encodeAll() refuses examples of which some have more texts of their own", async () => {
  const tokenizer = await load();
  assertThrows(
    () =>
      tokenizer.encodeAll([
        { index: 0, text: "a", others: ["b"] },
        { index: 1, text: "a" },
      ], 1e6),
    RangeError,
    "Example 1 has 0 further texts, but the first one has 1",
  );
});

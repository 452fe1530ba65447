import { assertEquals } from "@std/assert";
import "../engine.ts";
import {
  forwardFlops,
  trainingFlops,
} from "../../../lib/engine/models/outline.ts";
import { parameterLayout } from "../../../lib/engine/models/parameters.ts";
import { parseModel } from "../../../lib/engine/models/registry.ts";
import { assertProfiledFlops } from "../flops.ts";
import { fixture, openReference } from "../reference.ts";
import { queryAndValue } from "../tiny_task.ts";
import {
  fullClassifier,
  headClassifier,
  noRanks,
} from "../without_adapters.ts";

Deno.test("trainingFlops() of RoBERTa-base at 16 x 64 equals a count by hand", () => {
  const model = parseModel(JSON.stringify({
    model_type: "roberta",
    vocab_size: 50265,
    hidden_size: 768,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    intermediate_size: 3072,
    max_position_embeddings: 514,
  }));
  const layout = parameterLayout(model, 2, queryAndValue(8));
  const classifier = { model, layout };
  const tokens = 16 * 64;
  // Layers 1 to 11: query, key, value; their adapters, down to 2 x 8 rows and up again;
  // scores and weighted values; output projection; the two of the feed-forward network.
  const projection = tokens * 768 * 2304;
  const down = tokens * 768 * 16;
  const up = tokens * 16 * 2304;
  const attention = 2 * 16 * 64 * 64 * 768;
  const rest = tokens * (768 * 768 + 2 * 768 * 3072);
  const layer = projection + down + up + attention + rest;
  // Layer 12: the query of 16 positions only, keys and values of all.
  const pooled = 16 * (768 * 768 + 768 * 8 + 8 * 768) +
    tokens * (768 * 1536 + 768 * 8 + 8 * 1536) +
    2 * 16 * 64 * 768 + 16 * (768 * 768 + 2 * 768 * 3072);
  const head = 16 * (768 * 768 + 768 * 2);
  const forward = 2 * (11 * layer + pooled + head);
  assertEquals(forwardFlops(classifier, [16, 64]), forward);

  // Backward: each gradient is a product of the same size. Frozen weights have
  // one, of their input; adapters have that and their own; attention has two
  // for each of its products; layer 1 needs no gradient of its input.
  const layerBack = projection + 2 * down + 2 * up + 2 * attention + rest;
  const firstBack = layerBack - projection - down;
  const pooledBack = 16 * (768 * 768 + 2 * 768 * 8 + 2 * 8 * 768) +
    tokens * (768 * 1536 + 2 * 768 * 8 + 2 * 8 * 1536) +
    4 * 16 * 64 * 768 + 16 * (768 * 768 + 2 * 768 * 3072);
  const back = 2 * (firstBack + 10 * layerBack + pooledBack + 2 * head);
  assertEquals(trainingFlops(classifier, [16, 64]), forward + back);
});

for (
  const { config, targetModules, forward, training } of JSON.parse(
    Deno.readTextFileSync(fixture("flops.json")),
  )
) {
  const { model_type: type, classifier_pooling: pooling } = config;
  Deno.test(
    `forwardFlops() and trainingFlops() equal PyTorch's count of the same computation, ${
      [type, pooling, targetModules.join(" ")].filter(Boolean).join(", ")
    }`,
    () => {
      const model = parseModel(JSON.stringify(config));
      const layout = parameterLayout(model, 2, { rank: 4, targetModules });
      assertEquals(forwardFlops({ model, layout }, [2, 16]), forward);
      assertEquals(trainingFlops({ model, layout }, [2, 16]), training);
    },
  );
}

for (
  const [name, make] of Object.entries({
    "all weights": fullClassifier,
    "the head alone": headClassifier,
  })
) {
  Deno.test(`forwardFlops() and trainingFlops() count the products of training ${name}`, async () => {
    const reference = openReference("roberta");
    const { classifier, values } = make(reference);
    await assertProfiledFlops(reference, classifier, values, noRanks());
  });
}

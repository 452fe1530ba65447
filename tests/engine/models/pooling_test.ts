import { assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import reference from "../../../fixtures/references/similarity.json" with {
  type: "json",
};
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { positionsOf } from "../../../lib/engine/models/model.ts";
import { startValues } from "../../../lib/engine/models/parameters.ts";
import {
  parsePooling,
  type PoolingMode,
  withPooling,
} from "../../../lib/engine/models/pooling.ts";
import { logitsAt, ranksAt } from "../logits.ts";
import { assertClose, openReference } from "../reference.ts";

const { ids, mask, embeddings } = reference.pooling;

for (const [folder, byMode] of Object.entries(embeddings)) {
  Deno.test(`withPooling() gives the embeddings of sentence-transformers, of padded sequences: ${folder}`, async () => {
    const { model, file } = openReference(folder.replace("tiny-", ""));
    const shape: [number, number] = [ids.length, ids[0]!.length];
    const all = Int32Array.from(ids.flat());
    const input = {
      ids: tf.tensor2d(all, shape, "int32"),
      positions: tf.tensor2d(
        positionsOf(model, all, shape[1]),
        shape,
        "int32",
      ),
      types: tf.zeros<tf.Rank.R2>(shape, "int32"),
      mask: tf.tensor2d(mask.flat(), shape),
    };
    for (const [mode, expected] of Object.entries(byMode)) {
      const pooled = withPooling(model, mode as PoolingMode);
      const classifier = loadClassifier(file, pooled, model.hidden, {
        rank: 2,
      });
      const names = [...classifier.layout.entries.keys()];
      assertEquals(names.every((name) => /lora_[AB]/.test(name)), true);
      const values = startValues(file, classifier, 0);
      const found = await logitsAt(
        classifier,
        values,
        input,
        ranksAt([2], 16, 2),
      );
      assertClose(found, expected.flat(), 1e-5, mode);
    }
  });
}

/** A `modules.json` of these modules. */
function modulesOf(...names: string[]): string {
  return JSON.stringify(names.map((name, idx) => ({
    idx,
    name: `${idx}`,
    path: idx === 0 ? "" : `${idx}_${name}`,
    type: `sentence_transformers.models.${name}`,
  })));
}

Deno.test("parsePooling() reads the mode by name or by its field, and whether embeddings are normalized", () => {
  const plain = modulesOf("Transformer", "Pooling");
  const normalized = modulesOf("Transformer", "Pooling", "Normalize");
  assertEquals(
    parsePooling(
      normalized,
      '{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}',
    ),
    { mode: "mean", normalizes: true },
  );
  assertEquals(parsePooling(plain, '{"pooling_mode": "lasttoken"}'), {
    mode: "lasttoken",
    normalizes: false,
  });
});

Deno.test("parsePooling() names the module or the mode that is not supported", () => {
  const plain = modulesOf("Transformer", "Pooling");
  assertThrows(
    () => parsePooling(modulesOf("Transformer", "Pooling", "Dense"), "{}"),
    SyntaxError,
    '"modules.json" has the modules Transformer, Pooling, Dense; supported are',
  );
  assertThrows(
    () => parsePooling("{}", "{}"),
    SyntaxError,
    '"modules.json" is no list of modules',
  );
  for (
    const [config, named] of [
      ['{"pooling_mode": ["cls", "mean"]}', "cls and mean"],
      ['{"pooling_mode_max_tokens": true}', "max"],
      ["{}", "none"],
    ] as const
  ) {
    assertThrows(
      () => parsePooling(plain, config),
      SyntaxError,
      `"1_Pooling/config.json" has the pooling ${named}; supported is one of`,
    );
  }
});

import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import reference from "../../../fixtures/references/similarity.json" with {
  type: "json",
};
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { positionsOf } from "../../../lib/engine/models/model.ts";
import { fromTensors } from "../../../lib/engine/models/parameters.ts";
import { withPooling } from "../../../lib/engine/models/pooling.ts";
import { batchLoss, type LossName } from "../../../lib/engine/ops/loss.ts";
import { lossAndGradient, ranksAt } from "../logits.ts";
import { assertClose, openReference } from "../reference.ts";
import { queryAndValue } from "../tiny_task.ts";

/** What sentence-transformers and PEFT compute of a batch; see fixtures/similarity.py. */
const { ids, mask, factors, scores, ...losses } = reference.adapted;

/** Tensors of PEFT by the names that the model has, flat in the order of a layout. */
function flatOf(
  tensors: Readonly<Record<string, number[][]>>,
  layout: Parameters<typeof fromTensors>[1],
): Float32Array {
  return fromTensors((name) => {
    const peft = `base_model.model.${name.replace("bert.", "")}`;
    const rows = tensors[peft] ??
      tensors[peft.replace(".weight", ".default.weight")]!;
    return Float32Array.from(rows.flat());
  }, layout);
}

for (
  const [name, loss, targets] of [
    ["cosent", "cosent", scores],
    ["ranking", "multiple-negatives-ranking", [0, 1, 2, 3, 4, 5, 6, 7]],
    [
      "symmetric",
      "multiple-negatives-symmetric-ranking",
      [0, 1, 2, 3, 4, 5, 6, 7],
    ],
  ] as const satisfies readonly (readonly [string, LossName, unknown])[]
) {
  Deno.test(`a LoRA gets from ${loss} the gradients that it gets in PEFT with sentence-transformers, of padded texts`, async () => {
    const { model, file } = openReference("bert");
    const pooled = withPooling(model, "mean");
    const classifier = loadClassifier(file, pooled, 1, queryAndValue(2));
    const { layout } = classifier;
    const shape: [number, number] = [ids.length, ids[0]!.length];
    const all = Int32Array.from(ids.flat());
    const input = {
      ids: tf.tensor2d(all, shape, "int32"),
      positions: tf.tensor2d(positionsOf(model, all, shape[1]), shape, "int32"),
      types: tf.zeros<tf.Rank.R2>(shape, "int32"),
      mask: tf.tensor2d(mask.flat(), shape),
    };
    const pairs = ids.length / 2;
    const found = await lossAndGradient(
      classifier,
      flatOf(factors, layout),
      input,
      ranksAt([2], 16, 2),
      (outputs) =>
        batchLoss(
          loss,
          outputs,
          tf.tensor2d([...targets], [pairs, targets.length / pairs]),
        ),
    );
    const expected = losses[name];
    assertClose([found.loss], [expected.loss], 1e-5, "loss");
    assertClose(
      found.gradient,
      [...flatOf(expected.gradients, layout)],
      1e-4,
      "gradient",
    );
  });
}

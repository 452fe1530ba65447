import { assertAlmostEquals, assertEquals } from "@std/assert";
import "../engine.ts";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import {
  startValues,
  toTensors,
} from "../../../lib/engine/models/parameters.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { writeSafetensors } from "../../../lib/engine/safetensors/writer.ts";
import { logitsAt, lossAndGradient, ranksAt } from "../logits.ts";
import { assertClose, openReference, referenceInput } from "../reference.ts";
import {
  referenceAdapter,
  referenceLoss,
  settings,
} from "../reference_step.ts";
import { queryAndValue } from "../tiny_task.ts";
import { headClassifier, noRanks } from "../without_adapters.ts";

const { alpha, rank: maxRank } = settings;
const everyRank = [1, 2, 3, 4];

for (const architecture of ["roberta", "bert"] as const) {
  const reference = openReference(architecture);
  const { figures } = reference;

  for (const method of ["truncated", "svd"] as const) {
    Deno.test(`logitsOf() gives PEFT's logits of an adapter reduced to every rank, ${method}, ${architecture}`, async () => {
      const { classifier, values } = referenceAdapter(
        reference,
        method === "svd" ? "svd.adapter" : "adapter",
      );
      const logits = await logitsAt(
        classifier,
        values,
        referenceInput(reference, "padded"),
        ranksAt(everyRank, alpha, maxRank, "maximum"),
      );
      const expected = everyRank.flatMap((b) => [
        ...figures.floats(`${method}.logits.rank${b}`),
      ]);
      assertClose(logits, expected, 1e-4, "logits");
    });
  }
}

Deno.test("logitsOf() of the head alone has the head's gradient of LoRA before its first step", async () => {
  const reference = openReference("roberta");
  const { file, model } = reference;
  const input = referenceInput(reference, "padded");
  const head = headClassifier(reference);
  const lora = loadClassifier(file, model, 2, queryAndValue(2));
  const values = startValues(file, lora, 0);
  const first = lora.layout.entries.get("classifier.dense.weight")!.offset;
  assertEquals(values.length - first, head.values.length);
  const { gradient: own } = await lossAndGradient(
    head.classifier,
    values.slice(first),
    input,
    noRanks(),
    referenceLoss(reference),
  );
  const { gradient } = await lossAndGradient(
    lora,
    values,
    input,
    ranksAt([2], 2, 2),
    referenceLoss(reference),
  );
  assertClose(own, gradient.slice(first), 1e-6, "gradient of the head");
});

for (
  const [name, module, stored] of [
    ["bert", "bert.pooler.dense", "pooler.dense"],
    ["deberta", "pooler.dense", "pooler.dense"],
    ["roberta", "classifier.dense", "classifier.dense"],
    ["distilbert", "pre_classifier", "pre_classifier"],
  ] as const
) {
  Deno.test(`startValues() takes the dense layer of the head from the file, and a new one if it has none, ${name}`, () => {
    const { file, model } = openReference(name);
    const { hidden } = model;
    const dense = {
      [`${stored}.weight`]: {
        shape: [hidden, hidden],
        values: Float32Array.from({ length: hidden * hidden }, (_, i) => i),
      },
      [`${stored}.bias`]: {
        shape: [hidden],
        values: new Float32Array(hidden).fill(0.5),
      },
    };
    const others = [...file.tensors].filter(([name]) => !(name in dense))
      .map(([name, { shape }]) => [name, { shape, values: file.floats(name) }]);
    const start = (saved: typeof dense | undefined) => {
      const path = Deno.makeTempFileSync({ suffix: ".safetensors" });
      try {
        writeSafetensors(path, { ...Object.fromEntries(others), ...saved });
        using file = SafetensorsFile.open(path);
        const classifier = loadClassifier(file, model, 2, "head");
        const { layout } = classifier;
        const tensors = toTensors(startValues(file, classifier, 0), layout);
        return ["weight", "bias"].map((kind) =>
          tensors[`${module}.${kind}`]!.values as Float32Array
        );
      } finally {
        Deno.removeSync(path);
      }
    };
    assertEquals(start(dense), Object.values(dense).map((it) => it.values));
    const [weight, bias] = start(undefined) as [Float32Array, Float32Array];
    const squares = weight.reduce((sum, value) => sum + value ** 2, 0);
    assertAlmostEquals(Math.sqrt(squares / weight.length), 0.02, 0.002);
    assertEquals(bias, new Float32Array(hidden));
  });
}

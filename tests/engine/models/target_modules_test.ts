/** Adapters on other modules than query and value. */
import { LORA_A, LORA_B } from "../../../lib/engine/adapters/lora.ts";
import { elementCount } from "../../../lib/engine/safetensors/reader.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { traced } from "../engine.ts";
import { rankScale } from "../../../lib/engine/adapters/scale.ts";
import type { RankObjective } from "../../../lib/engine/schedules/schedule.ts";
import {
  type Classifier,
  loadClassifier,
} from "../../../lib/engine/models/classifier.ts";
import type { Parameter } from "../../../lib/engine/models/model.ts";
import {
  parameterLayout,
  startValues,
  type TargetModules,
} from "../../../lib/engine/models/parameters.ts";
import { evaluateRanks } from "../../../lib/engine/training/evaluation.ts";
import { assertProfiledFlops } from "../flops.ts";
import { lossAndGradient, ranksAt } from "../logits.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
  type Reference,
  referenceInput,
} from "../reference.ts";
import { optimizer, referenceLoss, takeStep } from "../reference_step.ts";
import {
  dyloraObjective,
  matryoshkaObjective,
  ONE_LAYER,
  tinyExamples,
  withAdapters,
} from "../tiny_task.ts";
import { noRanks } from "../without_adapters.ts";

const rank = 4;
const alpha = 8;
const everyRank = [1, 2, 3, 4];
const everyModule = [
  "attention.self.query",
  "attention.self.key",
  "attention.self.value",
  "attention.output.dense",
  "intermediate.dense",
  "output.dense",
];
const dense = everyModule.slice(3);

for (const architecture of ["roberta", "bert"] as const) {
  const { model } = openReference(architecture);
  const layersOf = (modules: readonly string[]) =>
    Array.from(
      { length: model.layers },
      (_, layer) =>
        modules.map((name) => `${architecture}.encoder.layer.${layer}.${name}`),
    )
      .flat();

  Deno.test(`parameterLayout() finds the target modules in the order of computation, ${architecture}`, () => {
    const modulesOf = (targetModules: TargetModules) =>
      parameterLayout(model, 2, { rank, targetModules }).modules
        .map(({ name }) => name);
    assertEquals(modulesOf("all-linear"), layersOf(everyModule));
    assertEquals(modulesOf(["dense"]), layersOf(dense));
    assertEquals(modulesOf(["output.dense", "key"]), [
      ...layersOf(everyModule).filter((name) =>
        /output\.dense$|key$/.test(name)
      ),
    ]);
    const [one] = layersOf(["attention.self.value"]);
    assertEquals(modulesOf([one!]), [one!]);
  });

  Deno.test(`parameterLayout() names an unknown target, and the model's modules, ${architecture}`, () => {
    const fails = (targetModules: string[], message: string) =>
      void assertThrows(
        () => parameterLayout(model, 2, { rank, targetModules }),
        RangeError,
        message,
      );
    fails(
      ["query", "q_proj"],
      `no linear module of the model ends in "q_proj"; it has ${
        everyModule.map((name) => `"${name}"`).join(", ")
      }`,
    );
    // The end of a name, but not of one of its parts.
    fails(["uery"], '"uery"');
    fails([], "names no module");
  });

  // What an adapted module computes depends on no encoder; architectures_test.ts has the gradients of all.
  if (architecture === "bert") continue;
  for (
    const [name, targetModules, layers] of [
      ["all-linear", "all-linear", ONE_LAYER],
      ["dense", ["dense"], ONE_LAYER],
      ["key of the last layer", layersOf(["attention.self.key"]).slice(-1), {}],
    ] as const
  ) {
    const reference = openReference(architecture, layers);
    const { classifier, values } = adapted(reference, targetModules);

    for (
      const { kind, objective, drawn, ranks } of [
        {
          kind: "one rank",
          objective: dyloraObjective({ rank, alpha }),
          drawn: 3,
          ranks: [3],
        },
        {
          kind: "every rank at once",
          objective: matryoshkaObjective("losses", rank, alpha),
          drawn: rank,
          ranks: everyRank,
        },
      ]
    ) {
      Deno.test(`trainingStep() traced has the gradient of the weights that the adapters add to, ${name}, at ${kind}, ${architecture}`, async () => {
        const { loss, gradient } = await stepGradient(
          reference,
          classifier,
          values,
          objective,
          drawn,
        );
        const expected = await mergedGradient(
          reference,
          classifier,
          values,
          ranks,
        );
        for (
          const { module, offset, shape } of classifier.layout.entries.values()
        ) {
          const part = expected.gradient.subarray(
            offset,
            offset + elementCount(shape),
          );
          if (module !== undefined) {
            assert(part.some((value) => Math.abs(value) > 1e-5));
          }
        }
        assertClose([loss], [expected.loss], 1e-5, "loss");
        assertClose(gradient, expected.gradient, 1e-5, "gradient");
      });
    }

    Deno.test(
      `trainingStep() traced equals eager bit for bit, with dropout, ${name}, ${architecture}`,
      traced,
      async () => {
        const byExample = dyloraObjective({ scope: "example", rank, alpha });
        const all = matryoshkaObjective("losses", rank, alpha);
        for (
          const [objective, ranks] of [
            [byExample, [1, 4, 2, 3]],
            [all, rank],
          ] as const
        ) {
          const end = (eager: boolean) =>
            takeStep(
              reference,
              classifier,
              values,
              {
                objective,
                optimizer,
                loss: "cross-entropy",
                dropout: true,
                eager,
              },
              ranks,
            );
          assertSameBits((await end(false)).values, (await end(true)).values);
        }
      },
    );

    Deno.test(`evaluateRanks() of all ranks in one pass gives the logits of one pass per rank, ${name}, ${architecture}`, async () => {
      const tiny = tinyExamples(6);
      const ids = tiny.ids.map((id) => id % model.vocabSize);
      const examples = { ...tiny, ids };
      const at = (ranks: readonly number[]) =>
        evaluateRanks(classifier, values, examples, {
          alpha,
          scaling: "rank",
          ranks,
          batchSize: 4,
        });
      const alone: number[] = [];
      for (const b of everyRank) alone.push(...await at([b]));
      assertClose(await at(everyRank), alone, 1e-5, "logits");
    });

    for (const ranks of [[3], everyRank]) {
      Deno.test(`forwardFlops() and trainingFlops() count the products that the engine computes, ${name}, ${ranks.length} ranks, ${architecture}`, async () => {
        await assertProfiledFlops(
          reference,
          classifier,
          values,
          ranksAt(ranks, alpha, rank),
        );
      });
    }
  }
}

function adapted(
  { file, model }: Reference,
  targetModules: TargetModules,
): { classifier: Classifier; values: Float32Array } {
  const classifier = loadClassifier(file, model, 2, { rank, targetModules });
  return { classifier, values: withAdapters(startValues(file, classifier, 0)) };
}

/** Loss and gradient of a traced step: without momentum, the first moment is the gradient. */
async function stepGradient(
  reference: Reference,
  classifier: Classifier,
  values: Float32Array,
  objective: RankObjective,
  drawn: number,
): Promise<{ loss: number; gradient: Float32Array }> {
  const { loss, moment1 } = await takeStep(reference, classifier, values, {
    objective,
    optimizer: { ...optimizer, beta1: 0, clipNorm: Infinity },
    loss: "cross-entropy",
    dropout: false,
  }, drawn);
  return { loss, gradient: moment1 };
}

/**
 * Mean loss and gradient at some ranks, by way of the model with
 * all weights trained: with adapters merged into its weights it has the same
 * loss, and of the gradient G of a weight `W + B S A`, S the diagonal of the
 * scale, A has the gradient `S B^T G` and B has `G A^T S`.
 */
async function mergedGradient(
  reference: Reference,
  { layout, model }: Classifier,
  values: Float32Array,
  ranks: readonly number[],
): Promise<{ loss: number; gradient: Float32Array }> {
  const { file } = reference;
  const full = loadClassifier(file, model, 2, "all");
  const pretrained = startValues(file, full, 0);
  const tensorOf = (flat: Float32Array, { offset, shape }: Parameter) =>
    tf.tensor(
      flat.slice(offset, offset + elementCount(shape)),
      [...shape] as [number, number],
    ) as tf.Tensor2D;
  const mean = { loss: 0, gradient: new Float32Array(layout.size) };
  for (const b of ranks) {
    const diagonal = tf.tensor2d(
      rankScale(b, { rank, alpha, scaling: "rank" }),
      [rank, 1],
    );
    const factorsOf = (module: string) => {
      const [a, b] = [LORA_A, LORA_B].map((suffix) =>
        tensorOf(values, layout.entries.get(`${module}.${suffix}`)!)
      );
      return { a: a!, b: b! };
    };
    const merged = pretrained.slice();
    for (const { name, shape, offset } of layout.entries.values()) {
      const own = full.layout.entries.get(name);
      if (own === undefined) continue;
      const head = values.subarray(offset, offset + elementCount(shape));
      merged.set(head, own.offset);
    }
    for (const { name } of layout.modules) {
      const { a, b } = factorsOf(name);
      const own = full.layout.entries.get(`${name}.weight`)!;
      const added = tf.matMul(tf.mul(b, diagonal), a, true, false);
      const weight = tf.add(tensorOf(pretrained, own), added);
      merged.set(await read(weight), own.offset);
    }
    const { loss, gradient } = await lossAndGradient(
      full,
      merged,
      referenceInput(reference, "padded"),
      noRanks(),
      referenceLoss(reference),
    );
    mean.loss += loss / ranks.length;
    for (const entry of layout.entries.values()) {
      const { name, offset } = entry;
      let part: tf.Tensor;
      if (entry.module === undefined) {
        part = tensorOf(gradient, full.layout.entries.get(name)!);
      } else {
        const module = layout.modules[entry.module]!.name;
        const { a, b } = factorsOf(module);
        const own = full.layout.entries.get(`${module}.weight`)!;
        const g = tensorOf(gradient, own);
        const other = entry.isTransposed
          ? tf.matMul(a, g, false, true)
          : tf.matMul(b, g);
        part = tf.mul(other, diagonal);
      }
      (await read(part)).forEach((value, i) =>
        mean.gradient[offset + i]! += value / ranks.length
      );
    }
  }
  return mean;
}

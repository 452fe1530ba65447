import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { LORA_A, LORA_B } from "../../../lib/engine/adapters/lora.ts";
import {
  sortAdapter,
  sortFlops,
} from "../../../lib/engine/adapters/registry.ts";
import {
  rankScale,
  type RankScaling,
  scaleAt,
} from "../../../lib/engine/adapters/scale.ts";
import {
  fromTensors,
  toTensors,
} from "../../../lib/engine/models/parameters.ts";
import { atRank } from "../../../lib/engine/models/classifier.ts";
import { trainingFlops } from "../../../lib/engine/models/outline.ts";
import type { ParameterLayout } from "../../../lib/engine/models/model.ts";
import { batchLoss } from "../../../lib/engine/ops/loss.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import type { Batch } from "../../../lib/engine/training/batch.ts";
import type { RankObjective } from "../../../lib/engine/schedules/schedule.ts";
import { trainingStep } from "../../../lib/engine/training/step.ts";
import { train } from "../../../lib/engine/training/train.ts";
import { logitsAt, lossAndGradient, ranksAt } from "../logits.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
  referenceInput,
} from "../reference.ts";
import {
  batchRows,
  optimizer,
  referenceAdapter,
  settings,
  startState,
} from "../reference_step.ts";
import {
  dyloraObjective,
  loraObjective,
  tinyClassifier,
  tinyExamples,
  tinyOptions,
  withAdapters,
} from "../tiny_task.ts";

const reference = openReference("roberta");

Deno.test("sortAdapter() keeps the logits at the maximum rank, and makes each prefix the best of its rank", async () => {
  const { classifier, initial } = tinyClassifier();
  const { layout } = classifier;
  const values = withAdapters(initial);
  const sorted = sortedValues(values, layout);
  const input = referenceInput(reference, "padded");
  const logits = (values: Float32Array) =>
    logitsAt(classifier, values, input, ranksAt([8], 16, 8));
  assertClose(await logits(sorted), await logits(values), 1e-5, "logits");

  const { entries } = layout;
  const head = [...entries.values()].find((it) => it.module === undefined)!
    .offset;
  assertSameBits(sorted.subarray(head), values.subarray(head));
  for (const { name } of layout.modules) {
    const [before, after] = [values, sorted].map((of) => {
      const tensors = toTensors(of, layout);
      return (rank: number) =>
        prefixProduct(
          tensors[`${name}.${LORA_A}`]!.values as Float32Array,
          tensors[`${name}.${LORA_B}`]!.values as Float32Array,
          rank,
        );
    }) as [(rank: number) => Float64Array, (rank: number) => Float64Array];
    const whole = before(8);
    // Eckart and Young: no prefix of the same rank is closer to the product.
    for (let rank = 1; rank < 8; rank++) {
      assert(
        distance(after(rank), whole) < distance(before(rank), whole),
        `${name} at rank ${rank}`,
      );
    }
  }
});

Deno.test("train() of a sorted DyLoRA takes LoRA's steps of the maximum rank up to the sort, and others after it", async () => {
  const { classifier, initial } = tinyClassifier();
  const scaling = "maximum";
  const [sorted, full] = [
    dyloraObjective({ scaling, sortAt: 0.5 }),
    dyloraObjective({ scaling, sampler: { kind: "list", ranks: [8] } }),
  ];
  const valuesAt = async (objective: RankObjective, steps: number) => {
    const stop = new AbortController();
    let values: Float32Array | undefined;
    await assertRejects(
      () =>
        train(classifier, initial, tinyExamples(16), {
          ...tinyOptions,
          epochs: 4,
          objective,
        }, {
          report: () => {},
          signal: stop.signal,
          checkpointSeconds: 0,
          save: (checkpoint) => {
            if (checkpoint.progress.step !== steps) return;
            values = checkpoint.values.slice();
            stop.abort(new Error("Enough"));
          },
        }),
      Error,
      "Enough",
    );
    return values!;
  };
  // Eight steps, four of them before the sort.
  assertSameBits(await valuesAt(sorted, 4), await valuesAt(full, 4));
  assertNotEquals(await valuesAt(sorted, 5), await valuesAt(full, 5));
});

// DeBERTa has positions that all examples share.
for (const name of ["roberta", "deberta"] as const) {
  Deno.test(`trainingStep() with a rank for each example has the gradient of the examples by themselves, each at its rank, ${name}`, async () => {
    const reference = openReference(name);
    const { classifier, values } = referenceAdapter(reference);
    const { rank: maxRank, alpha } = settings;
    const ranks = [3, 4, 1, 2];
    const takeStep = trainingStep(classifier, {
      objective: dyloraObjective({ scope: "example", rank: maxRank, alpha }),
      optimizer: { ...optimizer, weightDecay: 0 },
      loss: "cross-entropy",
      dropout: false,
    });
    const { state, loss } = takeStep(startState(values), [
      batchRows(reference, 0, 4),
    ], {
      step: 0,
      ranks,
      learningRate: 0,
      seed: 0,
    });

    const gradient = new Float64Array(values.length);
    let expected = 0;
    for (const [row, rank] of ranks.entries()) {
      const batch = batchRows(reference, row, row + 1);
      const { loss, gradient: part } = await lossAndGradient(
        classifier,
        values,
        inputOf(batch),
        ranksAt([rank], alpha, maxRank),
        (logits) =>
          batchLoss("cross-entropy", logits, tf.tensor1d(batch.labels)),
      );
      expected += loss / ranks.length;
      part.forEach((value, i) => gradient[i]! += value / ranks.length);
    }
    assertClose(await read(loss), [expected], 1e-6, "loss");
    // The first moment is a tenth of the clipped gradient.
    const norm = Math.hypot(...gradient);
    const clipped = gradient.map((value) => 0.1 * value / Math.max(1, norm));
    assertClose(await read(state.moment1), clipped, 1e-6, "gradient");
  });
}

Deno.test("trainingStep() with a rank for each example traced equals eager bit for bit, whether its batches are one or two", async () => {
  const { classifier, initial } = tinyClassifier();
  const values = withAdapters(initial);
  const objective = dyloraObjective({ scope: "example" });
  const draw = { step: 0, ranks: [3, 8, 1, 5], learningRate: 1e-2, seed: 0 };
  const after = async (eager: boolean, sizes: readonly number[][]) => {
    const takeStep = trainingStep(classifier, {
      objective,
      optimizer,
      loss: "cross-entropy",
      dropout: true,
      eager,
    });
    const batches = sizes.map(([from, to]) => batchRows(reference, from!, to!));
    return await read(takeStep(startState(values), batches, draw).state.values);
  };
  for (const sizes of [[[0, 4]], [[0, 3], [3, 4]]]) {
    assertSameBits(await after(false, sizes), await after(true, sizes));
  }
});

Deno.test("DyLoRA draws every rank equally often in a batch of examples", () => {
  const random = seededRandom(0, "ranks");
  const { draw } = dyloraObjective({ scope: "example" });
  for (let i = 0; i < 20; i++) {
    const drawn = draw(random, 32);
    assertEquals(
      drawn.toSorted((a, b) => a - b),
      Array.from({ length: 32 }, (_, i) => 1 + Math.floor(i / 4)),
    );
  }
  const [one, other] = [draw(random, 32), draw(random, 32)];
  assert(one.join() !== other.join(), "the order is random");
  const few = Array.from({ length: 4000 }, () => draw(random, 3)).flat();
  for (let rank = 1; rank <= 8; rank++) {
    const share = few.filter((drawn) => drawn === rank).length / few.length;
    assert(Math.abs(share - 1 / 8) < 0.01, `rank ${rank}: ${share}`);
  }
});

Deno.test("train() that sorts after the last step gives LoRA's values of the maximum rank, sorted, and scores each epoch by its values sorted", async () => {
  const { classifier, initial } = tinyClassifier();
  const { layout } = classifier;
  const trained = async (objective: RankObjective) => {
    const scored: Float32Array[] = [];
    const result = await train(classifier, initial, tinyExamples(16), {
      ...tinyOptions,
      epochs: 3,
      objective,
    }, {
      report: () => {},
      evaluate: (values) => {
        scored.push(values);
        return Promise.resolve({ score: -scored.length, ranks: [] });
      },
    });
    return { ...result, scored };
  };
  const scaling = "maximum";
  const sorted = await trained(dyloraObjective({ scaling, sortAt: 1 }));
  const full = await trained(
    dyloraObjective({ scaling, sampler: { kind: "list", ranks: [8] } }),
  );
  const inOrder = (values: Float32Array) => sortedValues(values, layout);
  assertSameBits(sorted.values, inOrder(full.values));
  assertSameBits(sorted.best, inOrder(full.best!));
  assertSameBits(sorted.scored, full.scored.map(inOrder));
  assertEquals(sorted.flops, full.flops + sortFlops(layout));
});

Deno.test("train() with source ranks gives LoRA's values of the first, sorted, cut and at the scale of the next", async () => {
  const source = tinyClassifier(16);
  const { classifier } = tinyClassifier();
  for (const scaling of ["maximum", "rank"] as const) {
    const descended = await train(
      classifier,
      source.initial,
      tinyExamples(16),
      {
        ...tinyOptions,
        objective: dyloraObjective({ scaling, sortAt: 1, sourceRanks: [16] }),
      },
      { report: () => {} },
    );
    const full = await train(
      source.classifier,
      source.initial,
      tinyExamples(16),
      {
        ...tinyOptions,
        objective: loraObjective(16, 16),
      },
      { report: () => {} },
    );
    const sorted = sortAdapter(
      source.classifier.layout.kind,
      toTensors(full.values, source.classifier.layout),
      8,
      2, // alpha / 8 after alpha / 16
    );
    assertSameBits(
      descended.values,
      fromTensors(
        (name) => sorted[name]!.values as Float32Array,
        classifier.layout,
      ),
    );
    assertEquals(
      descended.flops,
      full.flops + sortFlops(source.classifier.layout),
    );
  }
});

Deno.test("train() that descends takes LoRA's steps of the first rank, and then fewer operations", async () => {
  const { classifier } = tinyClassifier();
  const { initial } = tinyClassifier(16);
  const flopsOf = async (sourceRanks: number[]) => {
    const { flops } = await train(
      classifier,
      sourceRanks.length === 0 ? tinyClassifier().initial : initial,
      tinyExamples(16),
      {
        ...tinyOptions,
        padTo: 24,
        objective: dyloraObjective({ sortAt: 0.5, sourceRanks }),
      },
      { report: () => {} },
    );
    return flops;
  };
  // Three of six steps at the source rank.
  const perStep = (rank: number) =>
    trainingFlops(atRank(classifier, rank), [8, 24], 1);
  assertEquals(
    await flopsOf([16]),
    3 * perStep(16) + 3 * perStep(8) + sortFlops(atRank(classifier, 16).layout),
  );
  assertEquals(
    await flopsOf([]),
    6 * perStep(8) + sortFlops(classifier.layout),
  );
});

Deno.test("DyLoRA refuses source ranks that do not descend to its own, or are never sorted", () => {
  for (
    const [params, message] of [
      [
        { sourceRanks: [64] },
        'sourceRanks 64 are trained before the rows are sorted: set "sortAt"',
      ],
      [
        { sourceRanks: [8], sortAt: 0.5 },
        "sourceRanks 8 must descend to above the adapter's rank 8",
      ],
      [
        { sourceRanks: [16, 32], sortAt: 0.5 },
        "sourceRanks 16, 32 must descend",
      ],
    ] as const
  ) {
    assertThrows(
      () =>
        dyloraObjective({ ...params, sourceRanks: [...params.sourceRanks] }),
      RangeError,
      message,
    );
  }
});

Deno.test("train() refuses to sort before any step has changed the rows, and after the last one if others should follow", async () => {
  const { classifier, initial } = tinyClassifier();
  // Six steps; the first has the learning rate 0.
  const sortedAt = (sortAt: number, sourceRanks: number[] = []) =>
    train(classifier, initial, tinyExamples(16), {
      ...tinyOptions,
      objective: dyloraObjective({ sortAt, sourceRanks }),
    }, { report: () => {} });
  for (const [sortAt, after] of [[0.05, 0], [0.2, 1]] as const) {
    await assertRejects(
      () => sortedAt(sortAt),
      RangeError,
      `"sortAt: ${sortAt}" sorts the rows after ${after} of 6 steps, too few to change the rows before each sort`,
    );
  }
  await assertRejects(
    () => sortedAt(0.95),
    RangeError,
    "after 6 of 6 steps, which leaves none that draws ranks",
  );
  await assertRejects(
    () => sortedAt(0.5, [16, 14, 12]),
    RangeError,
    "after 3 of 6 steps, too few to change the rows",
  );
});

Deno.test("DyLoRA refuses what a training of one row per step cannot have", () => {
  for (const params of [{ scope: "example" }, { sortAt: 0.5 }] as const) {
    assertThrows(
      () => dyloraObjective({ ...params, mode: "frozen" }),
      RangeError,
      'use mode "all"',
    );
  }
});

Deno.test("scaleAt() divides alpha by the rank or the maximum rank, of rsLoRA by the root", () => {
  for (const rank of [1, 3, 8]) {
    const by = (scaling: RankScaling) =>
      scaleAt(rank, { alpha: 16, rank: 8, scaling });
    assertEquals([by("rank"), by("maximum")], [16 / rank, 2]);
    assertEquals(by({ rslora: "rank" }), 16 / Math.sqrt(rank));
    assertEquals(by({ rslora: "maximum" }), 16 / Math.sqrt(8));
  }
  const adapter = { alpha: 16, rank: 4, scaling: "maximum" } as const;
  assertEquals([...rankScale(2, adapter)], [4, 4, 0, 0]);
});

function inputOf({ shape, ids, positions, types, mask }: Batch) {
  return {
    ids: tf.tensor2d(ids, [...shape], "int32"),
    positions: tf.tensor2d(positions, [...shape], "int32"),
    types: tf.tensor2d(types, [...shape], "int32"),
    mask: mask && tf.tensor2d(mask, [...shape]),
  };
}

/** Flat parameters with sorted adapters. */
function sortedValues(values: Float32Array, layout: ParameterLayout) {
  const sorted = sortAdapter(layout.kind, toTensors(values, layout));
  return fromTensors((name) => sorted[name]!.values as Float32Array, layout);
}

/** Product of the first rows of A `[8, in]` and columns of B `[out, 8]`: `[out, in]` */
function prefixProduct(
  a: Float32Array,
  b: Float32Array,
  rank: number,
): Float64Array {
  const [inputs, outputs] = [a.length / 8, b.length / 8];
  return Float64Array.from({ length: outputs * inputs }, (_, i) => {
    const [row, column] = [Math.floor(i / inputs), i % inputs];
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      sum += b[row * 8 + k]! * a[k * inputs + column]!;
    }
    return sum;
  });
}

function distance(x: Float64Array, y: Float64Array): number {
  return Math.hypot(...x.map((value, i) => value - y[i]!));
}

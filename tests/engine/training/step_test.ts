import { assert, assertEquals, assertNotEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { tensorflow, traced } from "../engine.ts";
import type { RankObjective } from "../../../lib/engine/schedules/schedule.ts";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { startValues } from "../../../lib/engine/models/parameters.ts";
import type { Parameter } from "../../../lib/engine/models/model.ts";
import { learningRateAt } from "../../../lib/engine/training/adamw.ts";
import { batchLoss } from "../../../lib/engine/ops/loss.ts";
import {
  type Batch,
  batchTensors,
  chunkCount,
  padBatch,
} from "../../../lib/engine/training/batch.ts";
import {
  type StepOptions,
  trainingStep,
} from "../../../lib/engine/training/step.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
} from "../reference.ts";
import { lossAndGradient, ranksAt } from "../logits.ts";
import {
  batchRows,
  draw,
  optimizer,
  referenceAdapter,
  settings,
  startState,
} from "../reference_step.ts";
import {
  dyloraObjective,
  loraObjective,
  matryoshkaObjective,
  ONE_LAYER,
  queryAndValue,
} from "../tiny_task.ts";

const { alpha, rank } = settings;
const frozen = dyloraObjective({ mode: "frozen" });
const everyRank = matryoshkaObjective("losses", 8, 16);

for (const architecture of ["roberta", "bert"] as const) {
  for (const eager of traced.ignore ? [true] : [true, false]) {
    Deno.test(`trainingStep() takes PyTorch's AdamW steps with accumulation, clip and schedule, ${architecture}, ${eager ? "eager" : "traced"}`, async () => {
      const reference = openReference(architecture);
      const { classifier, values } = referenceAdapter(reference);
      const batches = [batchRows(reference, 0, 2), batchRows(reference, 2, 4)];
      const step = trainingStep(classifier, {
        objective: dyloraObjective({ alpha, rank }),
        optimizer,
        loss: "cross-entropy",
        dropout: false,
        eager,
      });
      const schedule = {
        learningRate: settings.learning_rate,
        steps: settings.total_steps,
        warmupRatio: settings.warmup_steps / settings.total_steps,
      };
      const losses: number[] = [];
      let state = startState(values);
      for (let i = 0; i < 5; i++) {
        const learningRate = learningRateAt(i, schedule);
        assertClose(
          [learningRate],
          [reference.figures.floats("steps.lr")[i]!],
          1e-8,
          "lr",
        );
        const result = step(
          state,
          batches,
          draw(i, rank, learningRate),
        );
        losses.push((await read(result.loss))[0]!);
        tf.dispose([...Object.values(state), result.loss]);
        state = result.state;
      }
      assertClose(
        losses,
        reference.figures.floats("steps.loss"),
        1e-4,
        "losses",
      );
      const expected = referenceAdapter(reference, "steps.adapter").values;
      // AdamW divides by the root of tiny squares, which magnifies rounding.
      assertClose(
        await read(state.values),
        expected,
        2e-4,
        "values after 5 steps",
      );
      tf.dispose(Object.values(state));
      step.dispose();
    });
  }
}

for (
  const [size, copies] of [["small", 1], [
    "so large that it is compiled",
    6,
  ]] as const
) {
  Deno.test(
    `trainingStep() traced equals eager bit for bit, with dropout, at changing ranks, ${size}`,
    traced,
    async () => {
      const ends = (eager: boolean) =>
        trainTiny({ dropout: true, eager }, [3, 1, 8, 5], { copies });
      assertSameBits(await ends(false), await ends(true));
    },
  );
}

for (
  const [name, objective, parts] of [
    ["in mode frozen", frozen, 1],
    ["with accumulation", dyloraObjective(), 2],
    ["of all ranks at once", everyRank, 1],
  ] as const
) {
  Deno.test(
    `trainingStep() traced equals eager bit for bit, with dropout, ${name}`,
    traced,
    async () => {
      const ends = (eager: boolean) =>
        trainTiny({ dropout: true, objective, eager }, [3, 8], { parts });
      assertSameBits(await ends(false), await ends(true));
    },
  );
}

Deno.test(
  "trainingStep() computes each operation by itself if it is eager, and none if it is traced",
  traced,
  async () => {
    for (const eager of [true, false]) {
      for (const parts of [1, 2]) {
        const kernels = async (ranks: number[]) =>
          (await tf.profile(async () => {
            await trainTiny({ eager }, ranks, { parts });
            return [];
          })).kernels.filter(({ name }) => name === "BatchMatMul").length;
        // Tracing calls them too, once.
        const [once, twice] = [await kernels([8]), await kernels([8, 8])];
        assertEquals(twice, eager ? 2 * once : once);
      }
    }
  },
);

Deno.test("trainingStep() of DyLoRA with maximum rank 1 equals LoRA of rank 1", async () => {
  const ends = (objective: RankObjective) =>
    trainTiny({ objective }, [1, 1, 1], { maxRank: 1 });
  const expected = await ends(loraObjective(1, 16));
  assertSameBits(await ends(dyloraObjective({ rank: 1 })), expected);
  const trained = await ends(dyloraObjective({ rank: 1, mode: "frozen" }));
  assertClose(trained, expected, 1e-6, "frozen");
});

Deno.test("trainingStep() with the maximum's scale trains rank b as with alpha b / R, bit for bit", async () => {
  const ends = (objective: RankObjective) => trainTiny({ objective }, [2, 2]);
  const maximum = await ends(dyloraObjective({ scaling: "maximum" }));
  assertSameBits(await ends(dyloraObjective({ alpha: 4 })), maximum);
  assertNotEquals(await ends(dyloraObjective()), maximum);
});

Deno.test("trainingStep() weights the losses of a step's classes, in one batch or two", async () => {
  const reference = openReference("roberta", ONE_LAYER);
  const { classifier, values } = referenceAdapter(reference);
  const rows = [0, 1, 2, 3].map((row) => batchRows(reference, row, row + 1));
  const lossOf = async (
    batches: readonly Batch[],
    classWeights?: readonly number[],
  ) => {
    const objective = dyloraObjective({ alpha, rank });
    const options = stepOptions({ objective, classWeights });
    const step = trainingStep(classifier, options);
    const { loss } = step(startState(values), batches, draw(0, rank, 0));
    step.dispose();
    return (await read(loss))[0]!;
  };
  const losses = await Promise.all(rows.map((row) => lossOf([row])));
  const weights = rows.map(({ labels }) => [0.5, 3][labels[0]!]!);
  const total = weights.reduce((sum, it) => sum + it);
  const expected = losses.reduce((sum, it, i) => sum + it * weights[i]!, 0);
  for (const cuts of [[0, 4], [0, 3, 4]]) {
    const batches = cuts.slice(1).map((to, i) =>
      batchRows(reference, cuts[i]!, to)
    );
    const loss = await lossOf(batches, [0.5, 3]);
    assertClose([loss], [expected / total], 1e-6, `${cuts}`);
  }
});

Deno.test("trainingStep() shows a whole batch to a loss that looks for negatives in it, however many threads there are", async () => {
  const reference = openReference("roberta", ONE_LAYER);
  const { classifier, values } = referenceAdapter(reference);
  const pairs: Batch = {
    ...batchRows(reference, 0, 4),
    sequencesPerExample: 2,
    labels: Float32Array.of(0, 1, 2, 3),
    width: 2,
  };
  const loss = "multiple-negatives-ranking";
  const objective = dyloraObjective({ alpha, rank });
  const step = trainingStep(classifier, stepOptions({ objective, loss }));
  const before = startState(values);
  const taken = step(before, [pairs], draw(0, rank, 1e-2));
  const whole = await lossAndGradient(
    classifier,
    values,
    batchTensors(pairs),
    ranksAt([rank], alpha, rank),
    (outputs) => batchLoss(loss, outputs, tf.tensor2d(pairs.labels, [2, 2])),
  );
  assert(whole.loss > 0, "a pair alone has no negatives, and a loss of 0");
  assertClose(await read(taken.loss), [whole.loss], 1e-5, "loss");
  const norm = Math.hypot(...whole.gradient);
  const clipped = optimizer.clipNorm / Math.max(norm, optimizer.clipNorm);
  assertClose(
    await read(taken.state.moment1),
    whole.gradient.map((it) => it * clipped * (1 - optimizer.beta1)),
    1e-6,
    "gradient",
  );
  tf.dispose([
    ...Object.values(before),
    ...Object.values(taken.state),
    taken.loss,
  ]);
  step.dispose();
});

Deno.test("trainingStep() in mode frozen moves rows that momentum and decay move", async () => {
  const before = await trainTiny({ objective: frozen }, [2, 6]);
  const after = await trainTiny({ objective: frozen }, [2, 6, 3]);
  // All rows of A decay; rows 2 and 6 have momentum as well.
  assertEquals(changedRows(before, after), [0, 1, 2, 3, 4, 5, 6, 7]);
});

Deno.test(
  "trainingStep() keeps tensors and memory flat over 1,000 steps",
  traced,
  () => {
    const { classifier, start, batch } = tinyTraining(8);
    const step = trainingStep(classifier, stepOptions({ dropout: true }));
    let state = startState(start);
    const counts: string[] = [];
    const memory: number[] = [];
    for (let i = 0; i < 1000; i++) {
      const result = step(state, [batch], draw(i, 1 + i % 8, 1e-3));
      tf.dispose([...Object.values(state), result.loss]);
      state = result.state;
      if (i % 100 === 99) {
        counts.push(
          `${tensorflow!.getNumOfTensors()} ${tf.memory().numTensors}`,
        );
        memory.push(Deno.memoryUsage().rss / 2 ** 20);
      }
    }
    tf.dispose(Object.values(state));
    step.dispose();
    assertEquals(new Set(counts).size, 1, `tensor counts ${counts}`);
    const growth = memory.at(-1)! - memory[4]!;
    assert(growth < 32, `resident memory grew by ${growth} MiB over 500 steps`);
  },
);

/** One text of 300 tokens, for a model with rotary positions. */
function longText() {
  const reference = openReference("modernbert", {
    ...{ max_position_embeddings: 512, local_attention: 128 },
  });
  const { file, model } = reference;
  const classifier = loadClassifier(file, model, 2, {
    rank: 4,
    targetModules: ["Wqkv"],
  });
  const ids = Int32Array.from({ length: 300 }, (_, i) => 5 + i * 7 % 90);
  const examples = {
    ...{ ids, types: new Uint8Array(300), index: Int32Array.of(0) },
    ...{ offsets: Int32Array.of(0, 300), labels: Float32Array.of(1) },
  };
  const values = startValues(file, classifier, 0)
    .map((value) => value + 0.01);
  return { classifier, values, batch: padBatch(examples, [0], model) };
}

Deno.test(
  "trainingStep() computes a long text in chunks, one for each thread, as it computes a whole one, the same bits in each run",
  traced,
  async () => {
    const { classifier, values, batch } = longText();
    assertEquals(chunkCount(...batch.shape), 2);
    const run = async (dropout: boolean) => {
      const objective = dyloraObjective({ alpha, rank: 4 });
      const step = trainingStep(
        classifier,
        stepOptions({ objective, dropout }),
      );
      const before = startState(values);
      const { state, loss } = step(before, [batch], draw(0, 4, 1e-2));
      const found = [await read(loss), await read(state.moment1)];
      tf.dispose([...Object.values(before), ...Object.values(state), loss]);
      step.dispose();
      return found;
    };
    assertSameBits(await run(true), await run(true));
    const [loss, moment] = await run(false);
    const whole = await lossAndGradient(
      classifier,
      values,
      batchTensors(batch),
      ranksAt([4], alpha, 4),
      (logits) => batchLoss("cross-entropy", logits, tf.tensor1d(batch.labels)),
    );
    assertClose(loss!, [whole.loss], 1e-5, "loss");
    const norm = Math.hypot(...whole.gradient);
    const clipped = optimizer.clipNorm / Math.max(norm, optimizer.clipNorm);
    assertClose(
      moment!,
      whole.gradient.map((it) => it * clipped * (1 - optimizer.beta1)),
      1e-6,
      "gradient",
    );
  },
);

function stepOptions(options: Partial<StepOptions>): StepOptions {
  return {
    objective: dyloraObjective(),
    optimizer,
    loss: "cross-entropy",
    dropout: false,
    ...options,
  };
}

/** What is trained, and on how many copies of the batch: in one batch, or in parts whose gradients are summed. */
interface TinyTraining {
  readonly maxRank?: number;
  readonly copies?: number;
  readonly parts?: number;
}

async function trainTiny(
  options: Partial<StepOptions>,
  ranks: readonly number[],
  { maxRank = 8, copies = 1, parts = 1 }: TinyTraining = {},
) {
  const { classifier, start, batch: once } = tinyTraining(maxRank);
  const batches = Array<Batch>(parts).fill(repeated(once, copies));
  const step = trainingStep(classifier, stepOptions(options));
  let state = startState(start);
  ranks.forEach((rank, i) => {
    const result = step(state, batches, draw(i, rank, 1e-2));
    tf.dispose([...Object.values(state), result.loss]);
    state = result.state;
  });
  const values = await read(state.values);
  tf.dispose(Object.values(state));
  step.dispose();
  return values;
}

/** Rows of layer 0's query A that differ. */
function changedRows(before: Float32Array, after: Float32Array): number[] {
  const { layout } = tinyTraining(8).classifier;
  const { offset, shape: [rank, width] } = layout.entries.get(
    "roberta.encoder.layer.0.attention.self.query.lora_A.weight",
  )! as Parameter & { shape: [number, number] };
  return Array.from({ length: rank }, (_, row) => row).filter((row) => {
    const start = offset + row * width;
    const range = [start, start + width] as const;
    return before.slice(...range).some((value, i) =>
      value !== after.slice(...range)[i]
    );
  });
}

function tinyTraining(maxRank: number) {
  const reference = openReference("roberta", ONE_LAYER);
  const { file, model } = reference;
  const classifier = loadClassifier(file, model, 2, queryAndValue(maxRank));
  return {
    classifier,
    start: startValues(file, classifier, 0),
    batch: batchRows(reference, 0, 4),
  };
}

/** A batch that holds another one several times. */
function repeated(batch: Batch, copies: number): Batch {
  const [rows, seq] = batch.shape;
  const times = (values: ArrayLike<number>) =>
    Array.from({ length: copies }, () => Array.from(values)).flat();
  return {
    shape: [rows * copies, seq],
    ids: Int32Array.from(times(batch.ids)),
    positions: Int32Array.from(times(batch.positions)),
    types: Int32Array.from(times(batch.types)),
    mask: batch.mask && Float32Array.from(times(batch.mask)),
    labels: Float32Array.from(times(batch.labels)),
    tokens: batch.tokens * copies,
  };
}

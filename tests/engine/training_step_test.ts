import { assert, assertEquals, assertNotEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { tensorflow } from "./engine.ts";
import type { PaddedBatch } from "../../lib/engine/batches.ts";
import {
  type Classifier,
  logitsAt,
  logitsOf,
} from "../../lib/engine/classifier.ts";
import { matryoshka } from "../../lib/engine/ranks/matryoshka.ts";
import { crossEntropy } from "../../lib/engine/ops/loss.ts";
import {
  initialParameters,
  joinParameters,
  parameterLayout,
  splitParameters,
} from "../../lib/engine/parameters.ts";
import { fromPeftTensors } from "../../lib/engine/adapters/peft_adapter.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import {
  rankScale,
  trainedRows,
  type UpdateMode,
} from "../../lib/engine/ranks/rank_vectors.ts";
import { learningRateAt } from "../../lib/engine/training/schedule.ts";
import {
  type StepOptions,
  trainingStep,
} from "../../lib/engine/training/step.ts";
import { loadEncoder, loadPooler } from "../../lib/engine/weights.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
  type Reference,
  referenceInput,
} from "./reference.ts";
import {
  batchRows,
  draw,
  optimizer,
  settings,
  startState,
} from "./reference_step.ts";

for (const architecture of ["roberta", "bert"] as const) {
  Deno.test(`logitsAt() gives PEFT's logits at every rank in one pass, ${architecture}`, async () => {
    const reference = openReference(architecture);
    const { classifier, values } = referenceClassifier(reference, "adapter");
    const ranks = [1, 2, 3, 4];
    const scale = tf.tensor2d(
      ranks.flatMap((b) => [...rankScale(b, settings.alpha, 4)]),
      [4, 4],
    );
    const logits = await read(tf.tidy(() =>
      logitsAt(
        classifier,
        tf.tensor1d(values),
        referenceInput(reference, "padded"),
        {
          scale,
          trained: tf.zeros([4]) as tf.Tensor1D,
        },
      )
    ));
    const expected = ranks.flatMap((
      b,
    ) => [...reference.figures.floats(`lora.logits.rank${b}`)]);
    assertClose(logits, expected, 1e-4, "logits");
  });

  for (const method of ["truncated", "svd"] as const) {
    Deno.test(`logitsAt() gives PEFT's logits of an adapter reduced to every rank, ${method}, ${architecture}`, async () => {
      const reference = openReference(architecture);
      const { figures } = reference;
      const { classifier, values } = referenceClassifier(
        reference,
        method === "svd" ? "svd.adapter" : "adapter",
      );
      const scale = tf.tensor2d(
        [1, 2, 3, 4].flatMap((
          b,
        ) => [...rankScale(b, settings.alpha, 4, "maximum")]),
        [4, 4],
      );
      const logits = await read(tf.tidy(() =>
        logitsAt(
          classifier,
          tf.tensor1d(values),
          referenceInput(reference, "padded"),
          { scale, trained: tf.zeros([4]) as tf.Tensor1D },
        )
      ));
      const expected = [1, 2, 3, 4].flatMap((
        b,
      ) => [...figures.floats(`${method}.logits.rank${b}`)]);
      assertClose(logits, expected, 1e-4, "logits");
    });
  }

  Deno.test(`logitsOf() has PEFT's gradients, ${architecture}`, async () => {
    const reference = openReference(architecture);
    const { classifier, values } = referenceClassifier(reference, "adapter");
    const input = referenceInput(reference, "padded");
    const labels = tf.tensor1d(
      Float32Array.from(reference.figures.ints("labels2")),
    );
    const { value, grads } = tf.valueAndGrads((...parts: tf.Tensor[]) =>
      crossEntropy(
        logitsOf(classifier, parts, input, ranksAt(4, "all", 4), undefined),
        labels,
      )
    )(splitParameters(tf.tensor1d(values), classifier.layout));
    assertClose(
      await read(value),
      reference.figures.floats("lora.loss"),
      1e-5,
      "loss",
    );
    const expected = fromPeftTensors(
      (name) => reference.figures.floats(`lora.gradient.${name}`),
      classifier.layout,
      architecture,
    );
    assertClose(await read(joinParameters(grads)), expected, 1e-5, "gradient");
  });

  for (const eager of [true, false]) {
    Deno.test(`trainingStep() takes PyTorch's AdamW steps with accumulation, clip and schedule, ${architecture}, ${eager ? "eager" : "traced"}`, async () => {
      const reference = openReference(architecture);
      const { classifier, values } = referenceClassifier(reference, "adapter");
      const batches = [batchRows(reference, 0, 2), batchRows(reference, 2, 4)];
      const step = trainingStep(classifier, {
        alpha: settings.alpha,
        mode: "all",
        optimizer,
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
          draw(i, settings.rank, learningRate, settings.rank),
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
      const expected = referenceClassifier(reference, "steps.adapter").values;
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
  Deno.test(`trainingStep() traced equals eager bit for bit, with dropout, at changing ranks, ${size}`, async () => {
    const options = { mode: "all", dropout: true } as const;
    const ranks = [3, 1, 8, 5];
    const eager = await trainTiny(
      { ...options, eager: true },
      ranks,
      { copies },
    );
    assertSameBits(await trainTiny(options, ranks, { copies }), eager);
  });
}

for (
  const [name, architecture, options, parts] of [
    ["of BERT", "bert", {}, 1],
    ["in mode frozen-strict", "roberta", { mode: "frozen-strict" }, 1],
    ["with accumulation", "roberta", {}, 2],
    [
      "of all ranks at once",
      "roberta",
      { matryoshka: matryoshka("losses", 8) },
      1,
    ],
  ] as const
) {
  Deno.test(`trainingStep() traced equals eager bit for bit, with dropout, ${name}`, async () => {
    const ends = (eager: boolean) =>
      trainTiny({ dropout: true, ...options, eager }, [3, 8], {
        architecture,
        parts,
      });
    assertSameBits(await ends(false), await ends(true));
  });
}

Deno.test("trainingStep() of DyLoRA with maximum rank 1 equals LoRA of rank 1", async () => {
  const dylora = await trainTiny({ mode: "all" }, [1, 1, 1], {
    maxRank: 1,
  });
  for (const mode of ["frozen", "frozen-strict"] as const) {
    assertClose(
      await trainTiny({ mode }, [1, 1, 1], { maxRank: 1 }),
      dylora,
      1e-6,
      mode,
    );
  }
});

Deno.test("trainingStep() with the maximum's scale trains rank b as with alpha b / R, bit for bit", async () => {
  const maximum = await trainTiny({ scaling: "maximum" }, [2, 2]);
  assertSameBits(await trainTiny({ alpha: 4 }, [2, 2]), maximum);
  assertNotEquals(await trainTiny({}, [2, 2]), maximum);
});

Deno.test("trainingStep() in mode frozen-strict leaves every row but the drawn one bit-identical", async () => {
  const before = await trainTiny({ mode: "frozen-strict" }, [2, 6]);
  const after = await trainTiny({ mode: "frozen-strict" }, [2, 6, 3]);
  assertEquals(changedRows(before, after), [2]);
});

Deno.test("trainingStep() in mode frozen moves rows that momentum and decay move", async () => {
  const before = await trainTiny({ mode: "frozen" }, [2, 6]);
  const after = await trainTiny({ mode: "frozen" }, [2, 6, 3]);
  // All rows of A decay; rows 2 and 6 have momentum as well.
  assertEquals(changedRows(before, after), [0, 1, 2, 3, 4, 5, 6, 7]);
});

Deno.test({
  name: "trainingStep() keeps tensors and memory flat over 1,000 steps",
  ignore: tensorflow === undefined,
  fn: keepsMemoryFlat,
});

function keepsMemoryFlat(): void {
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
        `${tensorflow!.binding.getNumOfTensors()} ${tf.memory().numTensors}`,
      );
      memory.push(Deno.memoryUsage().rss / 2 ** 20);
    }
  }
  tf.dispose(Object.values(state));
  step.dispose();
  assertEquals(new Set(counts).size, 1, `tensor counts ${counts}`);
  const growth = memory.at(-1)! - memory[4]!;
  assert(growth < 32, `resident memory grew by ${growth} MiB over 500 steps`);
}

function stepOptions(options: Partial<StepOptions>): StepOptions {
  return { alpha: 16, mode: "all", optimizer, dropout: false, ...options };
}

/** What is trained, and on how many copies of the batch: in one batch, or in parts whose gradients are summed. */
interface TinyTraining {
  readonly maxRank?: number;
  readonly architecture?: "bert" | "roberta";
  readonly copies?: number;
  readonly parts?: number;
}

async function trainTiny(
  options: Partial<StepOptions>,
  ranks: readonly number[],
  { maxRank = 8, architecture, copies = 1, parts = 1 }: TinyTraining = {},
) {
  const { classifier, start, batch: once } = tinyTraining(
    maxRank,
    architecture,
  );
  const batches = Array<PaddedBatch>(parts).fill(repeated(once, copies));
  const step = trainingStep(classifier, stepOptions(options));
  const rowSteps = Array<number>(maxRank).fill(0);
  let state = startState(start);
  ranks.forEach((rank, i) => {
    rowSteps[rank - 1]!++;
    const result = step(state, batches, { ...draw(i, rank, 1e-2), rowSteps });
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
  const { hidden } = openReference("roberta").config;
  return Array.from({ length: 8 }, (_, row) => row).filter((row) => {
    const range = [row * hidden, (row + 1) * hidden] as const;
    return before.slice(...range).some((value, i) =>
      value !== after.slice(...range)[i]
    );
  });
}

function tinyTraining(
  maxRank: number,
  architecture: "bert" | "roberta" = "roberta",
) {
  const reference = openReference(architecture);
  const { config, model } = reference;
  const layout = parameterLayout(config, maxRank, 2);
  return {
    classifier: {
      config,
      weights: loadEncoder(model, config, { pooledLast: true }),
      layout,
    },
    start: initialParameters(
      layout,
      architecture === "bert" ? loadPooler(model, config) : undefined,
      seededRandom(0, "init"),
    ),
    batch: batchRows(reference, 0, 4),
  };
}

function referenceClassifier(
  { config, model, figures }: Reference,
  prefix: string,
): { classifier: Classifier; values: Float32Array } {
  const layout = parameterLayout(config, settings.rank, 2);
  return {
    classifier: {
      config,
      weights: loadEncoder(model, config, { pooledLast: true }),
      layout,
    },
    values: fromPeftTensors(
      (name) =>
        figures.floats(
          // Factors of a product have the head of the adapter that they are of.
          figures.tensors.has(`${prefix}.${name}`)
            ? `${prefix}.${name}`
            : `adapter.${name}`,
        ),
      layout,
      config.architecture,
    ),
  };
}

/** A batch that holds another one several times. */
function repeated(batch: PaddedBatch, copies: number): PaddedBatch {
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

function ranksAt(rank: number, mode: UpdateMode, maxRank: number) {
  return {
    scale: tf.tensor2d(rankScale(rank, settings.alpha, maxRank), [1, maxRank]),
    trained: tf.tensor1d(trainedRows(rank, mode, maxRank)),
  };
}

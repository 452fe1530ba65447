import {
  assert,
  assertEquals,
  assertIsError,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "./engine.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../lib/engine/training/checkpoint.ts";
import { logitsAt } from "../../lib/engine/classifier.ts";
import {
  initialParameters,
  parameterLayout,
} from "../../lib/engine/parameters.ts";
import { fromPeftTensors } from "../../lib/engine/adapters/peft_adapter.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import { RankDraws } from "../../lib/engine/ranks/rank_draws.ts";
import {
  rankScale,
  trainedRows,
  type UpdateMode,
} from "../../lib/engine/ranks/rank_vectors.ts";
import { padBatch } from "../../lib/engine/batches.ts";
import { train } from "../../lib/engine/training/train.ts";
import type { TrainingHooks } from "../../lib/engine/training/hooks.ts";
import { stateTensors, stateValues } from "../../lib/engine/training/state.ts";
import { trainingStep } from "../../lib/engine/training/step.ts";
import { loadEncoder } from "../../lib/engine/weights.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
  referenceInput,
} from "./reference.ts";
import { tinyClassifier, tinyExamples, tinyOptions } from "./tiny_task.ts";

const quiet: TrainingHooks = { report: () => {} };
const examples = tinyExamples(40);

for (const architecture of ["roberta", "bert"] as const) {
  Deno.test(`logitsAt() with a rank for each module gives those of an adapter that is cut by hand, ${architecture}`, async () => {
    const reference = openReference(architecture);
    const { config, model, figures } = reference;
    const layout = parameterLayout(config, 4, 2);
    const classifier = {
      config,
      weights: loadEncoder(model, config, { pooledLast: true }),
      layout,
    };
    const values = fromPeftTensors(
      (name) => figures.floats(`adapter.${name}`),
      layout,
      architecture,
    );
    const ranks = Array.from(
      { length: 2 * config.layers },
      (_, i) => 1 + i * 3 % 4,
    );
    assert(new Set(ranks).size > 2);
    // B with rows beyond its rank zeroed, and the others scaled from alpha / 4 to alpha / b.
    const cut = values.slice();
    const matrix = 4 * config.hidden;
    ranks.forEach((rank, module) => {
      const b = (2 * module + 1) * matrix;
      for (let i = 0; i < matrix; i++) {
        cut[b + i]! *= Math.floor(i / config.hidden) < rank ? 4 / rank : 0;
      }
    });
    const alpha = 8;
    const logits = (values: Float32Array, scale: tf.Tensor2D | tf.Tensor3D) =>
      read(tf.tidy(() =>
        logitsAt(
          classifier,
          tf.tensor1d(values),
          referenceInput(reference, "padded"),
          { scale, trained: tf.zeros([4]) as tf.Tensor1D },
        )
      ));
    const scale = ranks.map((rank) => [[...rankScale(rank, alpha, 4)]]);
    const own = await logits(values, tf.tensor3d(scale));
    const whole = tf.tensor2d(rankScale(4, alpha, 4), [1, 4]);
    assertClose(own, await logits(cut, whole), 1e-6, "logits");
    assertNotEquals(own, await logits(values, whole));
    assertIsError(
      await assertRejects(async () =>
        await logits(values, tf.tensor3d(scale.slice(1)))
      ),
      Error,
      new RegExp(
        `for ${ranks.length - 1} modules, but the model has ${ranks.length}`,
      ),
    );
  });
}

for (const mode of ["all", "frozen", "frozen-strict"] as const) {
  Deno.test(`trainingStep() with the same rank for each module is that of the whole model, bit for bit, ${mode}`, async () => {
    const { modules } = tiny();
    const steps = [3, 1, 8];
    assertSameBits(
      await takeSteps(mode, steps.map((rank) => Array(modules).fill(rank))),
      await takeSteps(mode, steps),
    );
  });
}

Deno.test("trainingStep() in mode frozen-strict trains each module at its own rank", async () => {
  const { modules, hidden, start } = tiny();
  const ranks = Array.from({ length: modules }, (_, i) => 8 - 2 * i);
  const trained = await takeSteps("frozen-strict", [ranks]);
  ranks.forEach((rank, module) => {
    // Only B: at the start it is zero, and so is the gradient of A.
    const b = (2 * module + 1) * 8 * hidden;
    const changed = Array.from({ length: 8 }, (_, row) => row).filter((row) => {
      const range = [b + row * hidden, b + (row + 1) * hidden] as const;
      const before = start.slice(...range);
      return trained.slice(...range).some((value, i) => value !== before[i]);
    });
    assertEquals(changed, [rank - 1], `module ${module}`);
  });
});

Deno.test("RankDraws draws a rank for each module and counts the rows of each", () => {
  const { classifier } = tinyClassifier();
  const options = { ...tinyOptions, scope: "module" } as const;
  const draws = new RankDraws(options, classifier.layout);
  const { modules } = tiny();
  const expected = Array<number>(modules * 8).fill(0);
  const drawn: number[][] = [];
  for (let step = 0; step < 200; step++) {
    const ranks = draws.next() as number[];
    drawn.push(ranks);
    ranks.forEach((rank, module) =>
      trainedRows(rank, "all", 8).forEach((it, row) => {
        expected[module * 8 + row]! += it;
      })
    );
  }
  assertEquals(draws.rowSteps, expected);
  assert(drawn.every((ranks) => ranks.length === modules));
  // Were they one rank, all would be alike.
  assert(drawn.filter((ranks) => new Set(ranks).size > 1).length > 150);
  for (let module = 0; module < modules; module++) {
    assertEquals(new Set(drawn.map((ranks) => ranks[module])).size, 8);
  }
  const rest = new RankDraws(options, classifier.layout, draws.state);
  assertEquals(rest.next(), draws.next());
});

Deno.test("train() with a rank for each module gives the same bits when it was interrupted", async () => {
  const { classifier, initial } = tinyClassifier();
  const options = {
    ...tinyOptions,
    mode: "frozen-strict",
    scope: "module",
    epochs: 2,
  } as const;
  const whole = await train(classifier, initial, examples, options, quiet);
  const folder = await Deno.makeTempDir();
  const path = join(folder, "training.safetensors");
  const interrupt = new AbortController();
  await assertRejects(
    () =>
      train(classifier, initial, examples, options, {
        ...quiet,
        signal: interrupt.signal,
        checkpointSeconds: 0,
        save: (checkpoint: Checkpoint) => {
          saveCheckpoint(path, checkpoint);
          if (checkpoint.progress.step === 7) {
            interrupt.abort(new Error("Stop"));
          }
        },
      }),
    Error,
    "Stop",
  );
  const resumed = await train(classifier, initial, examples, options, {
    ...quiet,
    resume: loadCheckpoint(path, classifier.layout.size),
  });
  assertSameBits(resumed.values, whole.values);
  await Deno.remove(folder, { recursive: true });
});

function tiny() {
  const { classifier: { layout } } = tinyClassifier();
  return {
    modules: 2 * layout.layers,
    hidden: layout.hidden,
    start: initialParameters(layout, undefined, seededRandom(0, "init")),
  };
}

/** Parameters after a step at each of these ranks. */
async function takeSteps(
  mode: UpdateMode,
  ranks: readonly (number | number[])[],
): Promise<Float32Array> {
  const { classifier, initial } = tinyClassifier();
  const { layout, config } = classifier;
  const step = trainingStep(classifier, { ...tinyOptions, mode });
  const batch = padBatch(examples, [0, 1, 2, 3], config);
  const sets = typeof ranks[0] === "number" ? 1 : 2 * layout.layers;
  let state = stateTensors({ values: initial });
  for (const [i, rank] of ranks.entries()) {
    const result = step(state, [batch], {
      step: i,
      rank,
      learningRate: 1e-2,
      seed: 7,
      rowSteps: Array<number>(sets * layout.rank).fill(i + 1),
    });
    tf.dispose([...Object.values(state), result.loss]);
    state = result.state;
  }
  const { values } = await stateValues(state);
  tf.dispose(Object.values(state));
  step.dispose();
  return values;
}

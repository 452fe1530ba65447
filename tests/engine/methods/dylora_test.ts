import {
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { training } from "../engine.ts";
import {
  dylora,
  type DyloraParams,
  Sampler,
} from "../../../lib/engine/methods/dylora.ts";
import type { RankObjective } from "../../../lib/engine/methods/method.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import { padBatch } from "../../../lib/engine/training/batch.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../../lib/engine/training/checkpoint.ts";
import { trainingStep } from "../../../lib/engine/training/step.ts";
import {
  train,
  type TrainingHooks,
} from "../../../lib/engine/training/train.ts";
import { assertSameBits, read } from "../reference.ts";
import { startState } from "../reference_step.ts";
import {
  dyloraObjective,
  tinyClassifier,
  tinyExamples,
  tinyOptions,
} from "../tiny_task.ts";

const draws = 40_000;
const quiet: TrainingHooks = { report: () => {} };
const examples = tinyExamples(40);

Deno.test("DyLoRA draws every rank equally often when uniform", () => {
  assertFrequencies({ kind: "uniform" }, Array(8).fill(1 / 8));
});

Deno.test("DyLoRA draws the geometric distribution, truncated at the maximum rank", () => {
  const p = 0.15;
  const mass = Array.from({ length: 8 }, (_, i) => p * (1 - p) ** i);
  const total = mass.reduce((sum, it) => sum + it, 0);
  assertFrequencies({ kind: "geometric", p }, mass.map((it) => it / total));
});

Deno.test("DyLoRA draws no rank below the lowest", () => {
  const none = [0, 0, 0, 0, 0];
  const uniform = [...none, 1 / 3, 1 / 3, 1 / 3];
  assertFrequencies({ kind: "uniform", minRank: 6 }, uniform);
  // 1, 1/2 and 1/4 of the mass, renormalized.
  const geometric = [...none, 4 / 7, 2 / 7, 1 / 7];
  assertFrequencies({ kind: "geometric", p: 0.5, minRank: 6 }, geometric);
});

Deno.test("DyLoRA draws listed ranks only", () => {
  assertFrequencies({ kind: "list", ranks: [1, 2, 8] }, [
    1 / 3,
    1 / 3,
    0,
    0,
    0,
    0,
    0,
    1 / 3,
  ]);
});

Deno.test("DyLoRA refuses ranks that the adapter does not have", () => {
  for (
    const sampler of [
      { kind: "list", ranks: [1, 9] },
      { kind: "uniform", minRank: 9 },
    ] as const
  ) {
    assertThrows(
      () => dyloraObjective({ sampler: Sampler.parse(sampler) }),
      RangeError,
      "Rank 9 is not between 1 and the maximum rank 8",
    );
  }
});

Deno.test("DyLoRA refuses a list that would leave the last rows untrained", () => {
  assertThrows(
    () => dyloraObjective({ sampler: { kind: "list", ranks: [1, 2, 4] } }),
    RangeError,
    "Ranks 1, 2, 4 must include the adapter's rank 8",
  );
});

Deno.test("Sampler requires a list that is not empty, and a probability between 0 and 1", () => {
  const placesOf = (sampler: unknown) =>
    Sampler.safeParse(sampler).error?.issues.map(({ path }) => path.join("."));
  assertEquals(placesOf({ kind: "list", ranks: [] }), ["ranks"]);
  assertEquals(placesOf({ kind: "geometric", p: 1 }), ["p"]);
  assertEquals(placesOf({ kind: "geometric", p: 0 }), ["p"]);
  assertEquals(placesOf({ kind: "geometric", p: 0.5 }), undefined);
});

Deno.test("DyLoRA serves every rank from the lowest that it drew", () => {
  const lowest = (sampler: Sampler) => dylora.lowestRank({ rank: 8, sampler });
  assertEquals(lowest({ kind: "uniform" }), 1);
  assertEquals(lowest({ kind: "geometric", p: 0.5, minRank: 3 }), 3);
  assertEquals(lowest({ kind: "list", ranks: [8, 2, 4] }), 2);
});

Deno.test("DyLoRA says in words how a training drew ranks", () => {
  const inWords = (
    sampler: Sampler,
    others: Partial<Record<string, unknown>> = {},
  ) =>
    dylora.drawsInWords!({
      ...{ mode: "all", scope: "model", sortAt: null, sampler },
      ...others,
    });
  assertEquals(inWords({ kind: "uniform" }), "uniformly for each step");
  assertEquals(
    inWords({ kind: "geometric", p: 0.15, minRank: 2 }, { mode: "frozen" }),
    "geometrically (p = 0.15) from 2 on for each step, mode frozen",
  );
  assertEquals(
    inWords({ kind: "list", ranks: [2, 8] }, {
      scope: "example",
      sortAt: 0.55,
    }),
    "from 2 8 for each example, after the rows were sorted at 55 % of the steps",
  );
  assertEquals(
    inWords({ kind: "uniform" }, { sortAt: 1 }),
    "none, the rows were sorted after the last step",
  );
});

for (const mode of ["all", "frozen", "frozen-strict"] as const) {
  Deno.test(`trainingStep() with the same rank for each module equals that of the whole model, bit for bit, ${mode}`, async () => {
    const modules = tinyClassifier().classifier.layout.modules.length;
    const steps = [3, 1, 8];
    assertSameBits(
      await takeSteps(mode, steps.map((rank) => Array(modules).fill(rank))),
      await takeSteps(mode, steps),
    );
  });
}

Deno.test("trainingStep() in mode frozen-strict trains each module at its own rank", async () => {
  const { classifier: { layout }, initial } = tinyClassifier();
  const ranks = layout.modules.map((_, i) => 8 - 2 * i);
  const trained = await takeSteps("frozen-strict", [ranks]);
  for (const { name, factor, offset, shape } of layout.entries.values()) {
    // Only B: at the start it is zero, and so is the gradient of A.
    if (factor?.of !== "B") continue;
    const [rows, width] = shape as [number, number];
    const changed = Array.from({ length: rows }, (_, row) => row).filter(
      (row) => {
        const start = offset + row * width;
        const range = [start, start + width] as const;
        const before = initial.slice(...range);
        return trained.slice(...range).some((value, i) => value !== before[i]);
      },
    );
    assertEquals(changed, [ranks[factor.module]! - 1], name);
  }
});

Deno.test(
  "train() with a rank for each module gives the same bits when it was interrupted",
  training,
  async () => {
    const { classifier, initial } = tinyClassifier();
    const options = {
      ...tinyOptions,
      objective: dyloraObjective({ mode: "frozen-strict", scope: "module" }),
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
  },
);

/** Parameters after a step at each of these ranks. */
async function takeSteps(
  mode: DyloraParams["mode"],
  ranks: readonly (number | number[])[],
): Promise<Float32Array> {
  const { classifier, initial } = tinyClassifier();
  const { layout, model } = classifier;
  const scope = typeof ranks[0] === "number" ? "model" : "module";
  const objective: RankObjective = dyloraObjective({ mode, scope });
  const step = trainingStep(classifier, { ...tinyOptions, objective });
  const batch = padBatch(examples, [0, 1, 2, 3], model);
  const sets = scope === "model" ? 1 : layout.modules.length;
  let state = startState(initial);
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
  const values = await read(state.values);
  tf.dispose(Object.values(state));
  step.dispose();
  return values;
}

/** Within four standard deviations of each frequency. */
function assertFrequencies(
  sampler: Sampler,
  expected: readonly number[],
): void {
  const objective = dyloraObjective({ sampler });
  const random = seededRandom(3, "rank");
  const counts = Array<number>(8).fill(0);
  for (let i = 0; i < draws; i++) counts[objective.draw(random) - 1]!++;
  counts.forEach((count, i) => {
    const probability = expected[i]!;
    const deviation = Math.sqrt(probability * (1 - probability) / draws);
    assertAlmostEquals(
      count / draws,
      probability,
      4 * deviation,
      `rank ${i + 1}: ${count / draws}, expected ${probability}`,
    );
  });
}

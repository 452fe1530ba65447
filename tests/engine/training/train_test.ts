import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import "../engine.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../../lib/engine/training/checkpoint.ts";
import type { RankObjective } from "../../../lib/engine/schedules/schedule.ts";
import { trainingFlops } from "../../../lib/engine/models/outline.ts";
import {
  DivergedError,
  type TrainingReport,
} from "../../../lib/engine/training/progress.ts";
import {
  train,
  type TrainingHooks,
} from "../../../lib/engine/training/train.ts";
import { trainingPhases } from "../../../lib/engine/training/phases.ts";
import { assertClose, assertSameBits } from "../reference.ts";
import {
  dyloraObjective,
  loraObjective,
  tinyClassifier,
  tinyExamples,
  tinyOptions,
} from "../tiny_task.ts";

const quiet: TrainingHooks = { report: () => {} };
/** Ten batches, and those with a smaller one at the end, whose step is traced by itself. */
const [examples, ragged] = [tinyExamples(80), tinyExamples(84)] as const;

for (
  const [name, options] of Object.entries({
    all: tinyOptions,
    frozen: {
      ...tinyOptions,
      objective: dyloraObjective({ mode: "frozen" }),
    },
    "accumulating gradients": { ...tinyOptions, accumulation: 2 },
    // Sorted before step 3, after which the first interruption falls.
    "sorted, with a rank for each example": {
      ...tinyOptions,
      objective: dyloraObjective({ sortAt: 0.1, scope: "example" }),
    },
    // Of 30 steps, three are at rank 16 and three at rank 12.
    "descending": {
      ...tinyOptions,
      objective: dyloraObjective({ sortAt: 0.2, sourceRanks: [16, 12] }),
    },
  })
) {
  Deno.test(`train() gives the same bits whole and interrupted twice, ${name}`, async () => {
    const { classifier } = tinyClassifier();
    const given = options.accumulation > 1 ? ragged : examples;
    const layouts = trainingPhases(classifier, given, options)
      .map(({ classifier }) => classifier.layout);
    const { initial } = tinyClassifier(layouts[0]!.rank);
    const whole = await train(classifier, initial, given, options, quiet);

    const folder = await Deno.makeTempDir();
    const path = join(folder, "training.safetensors");
    let resume: Checkpoint | undefined;
    for (const savesUntilInterrupt of [3, 4]) {
      const interrupt = new AbortController();
      let saves = 0;
      await assertRejects(
        () =>
          train(classifier, initial, given, options, {
            ...quiet,
            resume,
            signal: interrupt.signal,
            checkpointSeconds: 0,
            save: (checkpoint) => {
              saveCheckpoint(path, checkpoint);
              if (++saves === savesUntilInterrupt) {
                interrupt.abort(new Error("Interrupted"));
              }
            },
          }),
        Error,
        "Interrupted",
      );
      const before = resume?.progress.step ?? 0;
      resume = loadCheckpoint(path);
      assert(resume!.progress.step > before);
    }
    const resumed = await train(classifier, initial, given, options, {
      ...quiet,
      resume,
    });
    const { seconds: _1, msPerStep: _2, ...figures } = resumed;
    const { seconds: _3, msPerStep: _4, ...expected } = whole;
    assertSameBits(figures, expected);
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test("train() writes a checkpoint of the last step whenever it is aborted", async () => {
  const { classifier, initial } = tinyClassifier();
  for (let turns = 0; turns < 6; turns++) {
    const interrupt = new AbortController();
    let last = 0;
    let saved = 0;
    await assertRejects(
      () =>
        train(classifier, initial, examples, tinyOptions, {
          ...quiet,
          signal: interrupt.signal,
          progress(step) {
            last = step;
            if (step !== 5) return;
            let turn = Promise.resolve();
            for (let i = 0; i < turns; i++) turn = turn.then(() => {});
            turn.then(() => interrupt.abort(new Error("Interrupted")));
          },
          save: ({ progress }) => saved = progress.step,
        }),
      Error,
      "Interrupted",
    );
    assertEquals(saved, last, `aborted after ${turns} turns`);
  }
});

Deno.test("train() reports every step from the first, and what it compiles before it does", async () => {
  const { classifier, initial } = tinyClassifier();
  const told: (readonly [step: number, note: string | undefined])[] = [];
  const { steps } = await train(
    classifier,
    initial,
    examples,
    tinyOptions,
    {
      ...quiet,
      progress: (step, _, note) => told.push([step, note]),
    },
  );
  assertEquals(
    told.flatMap(([step, note]) => note === undefined ? [step] : []),
    Array.from({ length: steps + 1 }, (_, step) => step),
  );
  const compiled = told.flatMap(([step, note]) =>
    note === undefined ? [] : [[step, note] as const]
  );
  assertEquals(compiled[0]?.[0], 0);
  for (const [, note] of compiled) {
    assertMatch(note, /^compiling length \d+$/);
  }
  assert(compiled.length < steps / 2, `${compiled.length} of ${steps} steps`);
});

Deno.test("train() counts seconds and steps of all attempts", async () => {
  const { classifier, initial } = tinyClassifier();
  const interrupt = new AbortController();
  let checkpoint: Checkpoint | undefined;
  await assertRejects(
    () =>
      train(classifier, initial, examples, tinyOptions, {
        ...quiet,
        signal: interrupt.signal,
        checkpointSeconds: 0,
        save: (state) => {
          checkpoint = structuredClone(state);
          if (state.progress.step === 20) interrupt.abort(new Error("Stop"));
        },
      }),
    Error,
    "Stop",
  );
  const { progress, stepMilliseconds } = checkpoint!;
  assertEquals(stepMilliseconds.length, 20);
  const steps = stepMilliseconds.reduce((sum, it) => sum + it, 0);
  assert(progress.seconds * 1000 >= steps && steps > 0);

  // As if the first attempt had been slow: 20 of 30 steps took 5 s each.
  progress.seconds = 100;
  stepMilliseconds.fill(5000);
  const resumed = await train(classifier, initial, examples, tinyOptions, {
    ...quiet,
    resume: checkpoint,
    started: performance.now() - 7000,
  });
  assertEquals(resumed.msPerStep, 5000);
  assert(resumed.seconds > 107, `${resumed.seconds} s`);
});

Deno.test("train() counts tokens with and without padding, and the operations of every pass", async () => {
  const { classifier, initial } = tinyClassifier();
  const { offsets } = examples;
  const lengths = [...offsets.slice(1)].map((end, i) => end - offsets[i]!);
  const seq = Math.ceil(Math.max(...lengths) / 8) * 8;
  const { tokens, paddedTokens, flops } = await train(
    classifier,
    initial,
    examples,
    { ...tinyOptions, epochs: 2, batchSize: 80 },
    quiet,
  );
  assertEquals(tokens, 2 * offsets.at(-1)!);
  assertEquals(paddedTokens, 2 * 80 * seq);
  assertEquals(flops, 2 * trainingFlops(classifier, [80, seq]));
});

Deno.test("train() with every example padded to one length takes the same steps, but computes the padding", async () => {
  const { classifier, initial } = tinyClassifier();
  const options = {
    ...tinyOptions,
    epochs: 3,
    batchSize: 80,
    dropout: false,
    warmupRatio: 0,
  };
  const plain = await train(classifier, initial, examples, options, quiet);
  const padded = await train(
    classifier,
    initial,
    examples,
    { ...options, padTo: 30 },
    quiet,
  );
  // The mean of three steps; sums over more positions are rounded otherwise.
  assertClose([padded.losses[0]!.loss], [plain.losses[0]!.loss], 1e-4, "loss");
  assertEquals(padded.paddedTokens, 3 * 80 * 30);
  assertEquals(padded.tokens, plain.tokens);
  assertEquals(padded.flops, 3 * trainingFlops(classifier, [80, 30]));
});

Deno.test("train() gives different bits for different seeds", async () => {
  const { classifier, initial } = tinyClassifier();
  const once = await train(classifier, initial, examples, tinyOptions, quiet);
  const other = await train(classifier, initial, examples, {
    ...tinyOptions,
    seed: 1,
  }, quiet);
  assertNotEquals(other.values, once.values);
});

Deno.test("train() stops with advice when the loss is NaN", async () => {
  const { classifier, initial } = tinyClassifier();
  const options = { ...tinyOptions, learningRate: 1, warmupRatio: 0 };
  const poisoned = initial.slice();
  poisoned[0] = Infinity;
  await assertRejects(
    () => train(classifier, poisoned, examples, options, quiet),
    DivergedError,
    "The loss of step 1 is NaN: training has diverged. Try a lower learning rate than 1",
  );
});

Deno.test("train() of DyLoRA with maximum rank 1 is LoRA of rank 1", async () => {
  const { classifier, initial } = tinyClassifier(1);
  const adapter = { rank: 1, alpha: 16 };
  const values = async (objective: RankObjective) => {
    const options = { ...tinyOptions, objective };
    const result = await train(classifier, initial, examples, options, quiet);
    return result.values;
  };
  assertSameBits(
    await values(dyloraObjective(adapter)),
    await values(loraObjective(1, 16)),
  );
});

Deno.test("train() reports loss, learning rate, rank and speed", async () => {
  const { classifier, initial } = tinyClassifier();
  const reports: TrainingReport[] = [];
  const { losses, steps } = await train(
    classifier,
    initial,
    ragged,
    tinyOptions,
    {
      report: (report) => {
        assert(report.msPerStep > 0 && report.tokensPerSecond > 0);
        assert(report.flopsPerSecond > report.tokensPerSecond);
        reports.push(report);
      },
    },
  );
  assertEquals(steps, Math.ceil(84 / 8) * 3);
  assertEquals(reports.map(({ step }) => step), [10, 20, 30, 33]);
  assertEquals(losses, reports.map(({ step, loss }) => ({ step, loss })));
  assert(reports.every(({ ranks: [rank] }) => rank! >= 1 && rank! <= 8));
});

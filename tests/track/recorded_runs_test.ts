import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
} from "@std/assert";
import { recordedRuns } from "../../lib/track/recorded_runs.ts";
import { withFolder } from "../tasks/run_task.ts";
import { addResult, filledStore, START, TRAINING } from "./made_results.ts";

const HOUR = 3_600_000;
const fail = (text: string) => {
  throw new Error(text);
};

Deno.test("recordedRuns() gives every training and evaluation of the history, and no adapter that was not trained", () =>
  withFolder(async (folder) => {
    const runs = await recordedRuns("made", await filledStore(folder), fail);
    assertEquals(
      runs.map(({ stage, kind, started, ended }) => [
        stage,
        kind,
        (started - START) / HOUR,
        ended - started,
      ]),
      [
        ["train@seed=7", "training", 0, 100_000],
        ["train@seed=7", "training", 1, 100_000],
        ["evaluate@seed=7", "evaluation", 3, 100_000],
      ],
    );
    const [first, second, evaluation] = runs;
    assertEquals(evaluation!.training, second!.key);
    assertEquals(first!.training, undefined);
    assertEquals(second!.name, `train@seed=7.${second!.key.slice(0, 8)}`);
  }));

Deno.test("recordedRuns() gives a result that several stages share once, by the stage that ran", () =>
  withFolder(async (folder) => {
    const store = await filledStore(folder);
    const before = await recordedRuns("made", store, fail);
    await store.histories.succeeded("made", "another", before[0]!.key);
    assertEquals(await recordedRuns("made", store, fail), before);
    await store.histories.succeeded("other", "b", before[0]!.key);
    await store.histories.succeeded("other", "c", before[0]!.key);
    const [run, ...others] = await recordedRuns("other", store, fail);
    assertEquals([run!.stage, others.length], ["b", 0]);
  }));

Deno.test("recordedRuns() gives what runs of the pipeline with --name made, but no other pipeline's results", () =>
  withFolder(async (folder) => {
    const store = await filledStore(folder);
    const before = await recordedRuns("made", store, fail);
    for (const [i, pipeline] of ["made@b", "made-up"].entries()) {
      await addResult(store, {
        pipeline,
        stage: "train@seed=7",
        n: 5 + i,
        files: { "training.json": { ...TRAINING, seed: 8 } },
        metrics: { loss: 1 },
      });
    }
    const runs = await recordedRuns("made", store, fail);
    assertEquals(runs.slice(0, -1), before);
    assertEquals((runs.at(-1)!.started - START) / HOUR, 5);
  }));

Deno.test("recordedRuns() gives losses and learning rates in even steps of time, scores of epochs, and settings", () =>
  withFolder(async (folder) => {
    const [, run] = await recordedRuns(
      "made",
      await filledStore(folder),
      fail,
    );
    const start = START + HOUR;
    // Two of ten steps warm up: step 4 is the 2nd, step 8 the 6th after them.
    const rates = [0.01 * 7 / 8, 0.01 * 3 / 8];
    const expected = [
      ["train/loss", 4, 0.7],
      ["train/learning_rate", 4, rates[0]],
      ["epochs/accuracy/rank_1", 5, 0.7],
      ["epochs/accuracy/rank_4", 5, 0.8],
      ["epochs/f1/rank_4", 5, 0.6],
      ["train/loss", 8, 0.5],
      ["train/learning_rate", 8, rates[1]],
      ["step_seconds", 10, 0.25],
    ] as const;
    assertEquals(run!.points.length, expected.length);
    for (const [i, [name, step, value]] of expected.entries()) {
      const point = run!.points[i]!;
      assertEquals([point.name, point.step], [name, step]);
      assertAlmostEquals(point.value, value!, 1e-12);
      assertEquals(point.time, start + 10_000 * step);
    }
    assertEquals(run!.params, {
      method: "dylora",
      task: "reviews",
      labels: '["no","yes"]',
      rank: 4,
      seed: 7,
      targetModules: '["query","value"]',
      steps: 10,
      learningRate: 0.01,
      warmupRatio: 0.2,
      "selection.split": "validation",
      "selection.metric": "accuracy",
      "selection.best": 1,
    });
  }));

Deno.test("recordedRuns() gives scores by rank, without undefined ones", () =>
  withFolder(async (folder) => {
    const runs = await recordedRuns("made", await filledStore(folder), fail);
    assertEquals(
      runs.at(-1)!.points.map(({ name, step, value }) => [name, step, value]),
      [
        ["ranks/accuracy", 1, 0.7],
        ["ranks/accuracy", 4, 0.8],
        ["ranks/f1", 4, 0.6],
        ["seconds", 4, 100],
      ],
    );
  }));

Deno.test("recordedRuns() leaves out a damaged result and says so", () =>
  withFolder(async (folder) => {
    const store = await filledStore(folder);
    const [key] = store.histories.read("made", "train@seed=7").keys;
    const found = store.manifests.read(key!);
    assert(found.state === "found");
    await Deno.remove(store.blobs.path(found.manifest.files[0]!.blob));
    const notes: string[] = [];
    const runs = await recordedRuns("made", store, (text) => notes.push(text));
    assertEquals(runs.length, 2);
    assertEquals(runs[1]!.training, undefined);
    assertEquals(notes.length, 1);
    assertMatch(
      notes[0]!,
      /^Left out train@seed=7: its result [0-9a-f]{8} has lost "training.json"$/,
    );
  }));

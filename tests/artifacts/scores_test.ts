import { assertEquals, assertIsError, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  type Outputs,
  readOutputs,
  readScores,
  type ScoresInfo,
  writeScores,
} from "../../lib/artifacts/scores.ts";
import { assertSameBits } from "../engine/reference.ts";
import { withFolder } from "../tasks/run_task.ts";

const INFO: ScoresInfo = {
  task: "mrpc",
  problem: "classification",
  labels: ["not_equivalent", "equivalent"],
  provenance: {
    trained: "dylora",
    imported: false,
    reducedBy: null,
    heads: "trained",
  },
  seed: 3,
  training: "a".repeat(64),
  epoch: "last",
  split: "validation",
  precision: "f32",
  examples: 3,
  tokens: 30,
  flops: 1e6,
  ranks: [
    { rank: 1, metrics: { accuracy: 2 / 3, f1: 0.8 } },
    { rank: 8, metrics: { accuracy: 1, f1: 1 } },
  ],
};

const OUTPUTS: Outputs = {
  logits: Float32Array.of(0, 1, 1, 0, 0, 1, 0, 2, 0, 3, 4, 0),
  labels: Float32Array.of(1, 1, 0),
};

Deno.test("readScores() and readOutputs() read back what writeScores() wrote", async () => {
  await withFolder(async (folder) => {
    await writeScores(folder, INFO, OUTPUTS);
    const info = await readScores(folder);
    assertEquals(info, INFO);
    assertSameBits(readOutputs(folder), OUTPUTS);
  });
});

Deno.test("readOutputs() reads back outputs of units that are more than those of one sequence", async () => {
  await withFolder(async (folder) => {
    const outputs = { ...OUTPUTS, logits: new Float32Array(24).fill(0.5) };
    await writeScores(folder, INFO, outputs);
    assertSameBits(readOutputs(folder), outputs);
  });
});

Deno.test("readScores() reads an undefined metric as NaN", async () => {
  await withFolder(async (folder) => {
    const info: ScoresInfo = {
      ...INFO,
      task: "stsb",
      problem: "regression",
      labels: null,
      ranks: [{ rank: 1, metrics: { pearson: NaN } }],
    };
    await writeScores(folder, info, {
      logits: Float32Array.of(1, 1, 1),
      labels: Float32Array.of(0.5, 5, 2.25),
    });
    assertEquals(await readScores(folder), info);
  });
});

Deno.test("writeScores() rejects logits that are not finite", async () => {
  await withFolder(async (folder) => {
    const logits = OUTPUTS.logits.with(4, NaN);
    assertIsError(
      await assertRejects(() =>
        writeScores(folder, INFO, { ...OUTPUTS, logits })
      ),
      RangeError,
      /a logit is NaN/,
    );
  });
});

Deno.test("readScores() rejects unordered ranks and unknown fields", async () => {
  await withFolder(async (folder) => {
    const write = (info: unknown) =>
      Deno.writeTextFileSync(
        join(folder, "scores.json"),
        JSON.stringify(info),
      );
    write({ ...INFO, ranks: INFO.ranks.toReversed() });
    await assertRejects(
      () => readScores(folder),
      Error,
      "Expected ascending ranks",
    );
    write({ ...INFO, rank: 8 });
    assertIsError(
      await assertRejects(() => readScores(folder)),
      Error,
      /scores.json.*\n.*"rank"/,
    );
  });
});

import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import {
  bestEpoch,
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../../lib/engine/training/checkpoint.ts";
import { assertSameBits } from "../reference.ts";

Deno.test("loadCheckpoint() returns undefined if there is none, and names a damaged one", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "training.safetensors");
  assertEquals(loadCheckpoint(path), undefined);
  await Deno.writeTextFile(path, "not a checkpoint");
  assertThrows(() => loadCheckpoint(path), SyntaxError);
  const values = Float32Array.of(1, 2, 3, 4);
  const checkpoint: Checkpoint = {
    values,
    moment1: values,
    moment2: values,
    best: undefined,
    stepMilliseconds: Float32Array.of(5),
    progress: {
      step: 1,
      tokens: 1,
      paddedTokens: 1,
      flops: 1,
      losses: [],
      pendingLoss: 0.5,
      shuffleGenerator: [1, 2, 3, 4],
      rankGenerator: [1, 2, 3, 4],
      seconds: 1,
      epochs: [],
      evaluationSeconds: 0,
    },
  };
  saveCheckpoint(path, checkpoint);
  assertSameBits(loadCheckpoint(path), checkpoint);
  const bytes = await Deno.readFile(path);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = bytes.slice();
    damaged[at]! ^= 1;
    await Deno.writeFile(path, damaged);
    assertThrows(
      () => loadCheckpoint(path),
      SyntaxError,
      path,
      `byte ${at}`,
    );
    await Deno.writeFile(path, bytes.subarray(0, at));
    assertThrows(
      () => loadCheckpoint(path),
      SyntaxError,
      path,
      `${at} bytes`,
    );
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("loadCheckpoint() reads back metrics that are undefined", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "training.safetensors");
  const generator = [1, 2, 3, 4] as const;
  const epoch = {
    epoch: 1,
    step: 1,
    score: 0,
    ranks: [{ rank: 8, metrics: { pearson: NaN } }],
  };
  const values = Float32Array.of(1, 2);
  const checkpoint = {
    values,
    moment1: values,
    moment2: values,
    best: values,
    stepMilliseconds: Float32Array.of(9),
    progress: {
      step: 1,
      tokens: 1,
      paddedTokens: 8,
      flops: 100,
      losses: [],
      pendingLoss: 0,
      shuffleGenerator: generator,
      rankGenerator: generator,
      seconds: 1,
      epochs: [epoch],
      evaluationSeconds: 1,
    },
  };
  saveCheckpoint(path, checkpoint);
  assertSameBits(loadCheckpoint(path), checkpoint);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("bestEpoch() is undefined without epochs", () => {
  assertEquals(bestEpoch([]), undefined);
});

import { assertEquals, assertThrows } from "@std/assert";
import { readTokensInfo, writeTokens } from "../../lib/artifacts/tokens.ts";
import { readScoredSplit } from "../../lib/stages/scored_split.ts";
import { withFolder } from "../tasks/run_task.ts";

const INFO = {
  task: "mrpc",
  problem: "classification" as const,
  labels: ["no", "yes"],
  maxLength: 8,
  vocabSize: 9,
  tokenizer: "0".repeat(64),
};

/** Two examples of three tokens. */
const TEST = {
  ids: Int32Array.of(0, 5, 2, 0, 6, 2),
  types: new Uint8Array(6),
  offsets: Int32Array.of(0, 3, 6),
  index: Int32Array.of(0, 1),
};

Deno.test("readScoredSplit() scores by the metrics that the artifact names, whatever the task is called", () =>
  withFolder(async (folder) => {
    const validation = { ...TEST, labels: Float32Array.of(1, 0) };
    await writeTokens(
      folder,
      { ...INFO, metrics: ["matthews", "accuracy"] },
      { validation, test: TEST },
    );
    const info = await readTokensInfo(folder);
    const split = readScoredSplit(folder, info, "validation");
    assertEquals(split.score([4], Float32Array.of(0, 1, 0, 1)), [
      { rank: 4, metrics: { matthews: 0, accuracy: 0.5 } },
    ]);
    assertThrows(
      () => readScoredSplit(folder, info, "test"),
      Error,
      'Split "test" of "mrpc" has no labels',
    );
  }));

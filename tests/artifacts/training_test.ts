import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { type Sampler } from "../../lib/engine/methods/dylora.ts";
import { readRecord, servedRanks } from "../../lib/artifacts/training.ts";
import { readClasses } from "../../lib/artifacts/classes.ts";
import { REFERENCE_TRAINING } from "../tasks/reference_adapter.ts";
import { withFolder } from "../tasks/run_task.ts";

Deno.test("servedRanks() is the own rank of a LoRA, and all from the lowest trained rank otherwise", () => {
  const rank = 3;
  assertEquals(servedRanks({ method: "lora", rank }), [3]);
  assertEquals(servedRanks({ method: "lora-svd", rank }), [1, 2, 3]);
  const ranksOf = (sampler: Sampler) =>
    servedRanks({ method: "dylora", rank, sampler });
  assertEquals(ranksOf({ kind: "uniform" }), [1, 2, 3]);
  assertEquals(ranksOf({ kind: "geometric", p: 0.5, minRank: 2 }), [2, 3]);
  assertEquals(ranksOf({ kind: "list", ranks: [3, 2] }), [2, 3]);
  const matryoshka = { ranks: [2, 3] };
  assertEquals(servedRanks({ method: "matryoshka", rank, matryoshka }), [2, 3]);
});

Deno.test("readRecord() and readClasses() read artifacts of earlier versions, which do not say how long texts were", () =>
  withFolder(async (folder) => {
    const { maxLength: _, ...earlier } = REFERENCE_TRAINING;
    const { task, labels } = earlier;
    for (
      const [name, content] of [
        ["training.json", earlier],
        ["classes.json", { task, labels }],
      ] as const
    ) Deno.writeTextFileSync(join(folder, name), JSON.stringify(content));
    assertEquals(await readRecord(folder), REFERENCE_TRAINING);
    assertEquals(await readClasses(folder), { task, labels, maxLength: null });
  }));

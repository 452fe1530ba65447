import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { findClasses } from "../../lib/artifacts/classes.ts";
import { writeJsonFile } from "../../lib/artifacts/json_file.ts";
import {
  type AdapterRecord,
  readRecord,
  servedRanks,
} from "../../lib/artifacts/training.ts";
import type { DyloraSettings } from "../../lib/engine/schedules/dylora.ts";
import {
  REFERENCE_TRAINING,
  referenceTraining,
} from "../tasks/reference_adapter.ts";
import { withFolder } from "../tasks/run_task.ts";

Deno.test("servedRanks() is the own rank of a LoRA, and all from the lowest trained rank otherwise", () => {
  const ranksOf = (
    method: Partial<AdapterRecord["method"]>,
    { imported = false, reducedBy = null as "svd" | null } = {},
  ) =>
    servedRanks({
      ...{ imported, reducedBy, rank: 3 },
      method: method as AdapterRecord["method"],
    });
  assertEquals(ranksOf({ name: "lora" }), [3]);
  assertEquals(ranksOf({ name: "lora" }, { imported: true }), [3]);
  assertEquals(ranksOf({ name: "lora" }, { reducedBy: "svd" }), [1, 2, 3]);
  assertEquals(ranksOf({ name: "dylora" }, { imported: true }), [1, 2, 3]);
  const sampled = (sampler: DyloraSettings["sampler"]) =>
    ranksOf(referenceTraining({ sampler }).method);
  assertEquals(sampled({ kind: "uniform" }), [1, 2, 3]);
  assertEquals(sampled({ kind: "list", ranks: [3, 2] }), [2, 3]);
  const matryoshka = { name: "matryoshka", objective: "losses" } as const;
  assertEquals(ranksOf(matryoshka), [1, 2, 3]);
  assertEquals(ranksOf({ ...matryoshka, ranks: [2, 3] }), [2, 3]);
});

Deno.test("readRecord() refuses the training.json of an earlier version and says what to do", () =>
  withFolder(async (folder) => {
    const { imported: _1, reducedBy: _2, ...rest } = REFERENCE_TRAINING;
    const earlier = { ...rest, method: "dylora", mode: "all", scope: "model" };
    await writeJsonFile(join(folder, "training.json"), earlier);
    await assertRejects(
      () => readRecord(folder),
      SyntaxError,
      "Written by an earlier version of this program: run its stage again, or import the adapter",
    );
  }));

Deno.test("findClasses() reads files of earlier versions, which do not say how long texts were", () =>
  withFolder(async (folder) => {
    const { task, labels } = REFERENCE_TRAINING;
    await writeJsonFile(join(folder, "classes.json"), { task, labels });
    assertEquals(await findClasses(folder), { task, labels, maxLength: null });
  }));

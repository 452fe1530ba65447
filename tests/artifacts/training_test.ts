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

Deno.test("readRecord() says that a model was trained without an adapter, and what to connect", () =>
  withFolder(async (folder) => {
    const { imported: _, reducedBy: __, ...rest } = REFERENCE_TRAINING;
    const full = { ...rest, method: "full" };
    await writeJsonFile(join(folder, "training.json"), full);
    await assertRejects(
      () => readRecord(folder),
      SyntaxError,
      "It is of a model that was trained without an adapter: connect one of a stage of train-dylora",
    );
  }));

Deno.test("findClasses() reads files that do not say how long texts were", () =>
  withFolder(async (folder) => {
    const { task, problem, labels } = REFERENCE_TRAINING;
    await writeJsonFile(join(folder, "classes.json"), {
      task,
      problem,
      labels,
    });
    assertEquals(await findClasses(folder), {
      ...{ task, problem, labels },
      maxLength: null,
    });
  }));

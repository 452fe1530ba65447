import { assertRejects } from "@std/assert";
import { join } from "node:path";
import { type Choice, writeRanks } from "../../lib/artifacts/ranks.ts";
import { modulesOf } from "../../lib/engine/models/peft.ts";
import { digestOf } from "../../lib/artifacts/json_file.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import merge from "../../tasks/merge.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
  referenceTensors,
} from "../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const MODULES = modulesOf(Object.keys(referenceTensors("roberta")));
const model = join(import.meta.dirname!, "../../fixtures/tiny-roberta");

Deno.test("export-adapter and merge accept ranks per module only for the adapter for which they were chosen", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const training = await digestOf(join(adapter, "training.json"));
    const take = async (
      chosenFor: Partial<Pick<Choice, "seed" | "epoch" | "training">>,
      choose = true,
    ) => {
      const ranks = await Deno.makeTempDir({ dir: folder });
      await writeRanks(ranks, {
        task: REFERENCE_TRAINING.task,
        method: "dylora",
        modules: new Map(MODULES.map((name) => [name, 2])),
        choice: choose
          ? { ...CHOICE, seed: 0, epoch: "last", training, ...chosenFor }
          : null,
      });
      await runTask(merge, folder, {}, { model, adapter, ranks });
      await runTask(exportAdapter, folder, {}, { adapter, ranks });
    };
    await take({});
    // Set by hand, they belong to no training.
    await take({}, false);
    await assertRejects(
      () => take({ seed: 1 }),
      Error,
      "chosen for an adapter with seed 1, but this adapter has seed 0: connect the ranks that were chosen for it",
    );
    await assertRejects(
      () => take({ epoch: "best" }),
      Error,
      'chosen for an adapter with epoch "best", but this adapter has epoch "last"',
    );
    await assertRejects(
      () => take({ training: "0".repeat(64) }),
      Error,
      `with training "${
        "0".repeat(64)
      }", but this adapter has training "${training}"`,
    );
  }));

const scores = { parameters: 1024, loss: 0.5, metrics: { accuracy: 0.8 } };

const CHOICE: Omit<Choice, "seed" | "epoch" | "training"> = {
  budget: 1024,
  selection: { split: "train", examples: 8, start: 0.6, moves: [] },
  precision: "f32",
  split: "validation",
  examples: 8,
  chosen: scores,
  even: [{ rank: 2, ...scores }],
};

import { assertIsError, assertRejects } from "@std/assert";
import { join } from "node:path";
import { type Choice, writeRanks } from "../../lib/artifacts/ranks.ts";
import { modulesOf } from "../../lib/engine/adapters/peft.ts";
import { trainedAs, type Training } from "../../lib/artifacts/training.ts";
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
    const take = async (
      chosenFor: Partial<Training>,
      epoch: "last" | "best" = "last",
      choose = true,
    ) => {
      const { task, method } = REFERENCE_TRAINING;
      const ranks = await Deno.makeTempDir({ dir: folder });
      await writeRanks(ranks, {
        task,
        method,
        modules: new Map(MODULES.map((name) => [name, 2])),
        choice: choose
          ? choiceFor({ ...REFERENCE_TRAINING, ...chosenFor }, epoch)
          : null,
      });
      const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
      await runTask(merge, folder, {}, { model, adapter, ranks });
      await runTask(exportAdapter, folder, {}, { adapter, ranks });
    };
    await take({});
    // Set by hand, they belong to no training.
    await take({}, "last", false);
    await assertRejects(
      () => take({ seed: 1 }),
      Error,
      "chosen for an adapter with seed 1, but this adapter has seed 0: connect the ranks that were chosen for it",
    );
    await assertRejects(
      () => take({}, "best"),
      Error,
      'chosen for an adapter with epoch "best", but this adapter has epoch "last"',
    );
    await assertRejects(
      () => take({ mode: "frozen" }),
      Error,
      'chosen for an adapter with mode "frozen", but this adapter has mode "all"',
    );
    await assertRejects(
      () => take({ sampler: { kind: "uniform" } }),
      Error,
      'sampler {"kind":"uniform"}, but this adapter has sampler {"kind":"geometric","p":0.15}',
    );
    await assertRejects(
      () => take({ scope: "module" }),
      Error,
      'with scope "module", but',
    );
    assertIsError(
      await assertRejects(() => take({ rank: 8 })),
      Error,
      /with rank 8, but .* has rank 4/,
    );
  }));

function choiceFor(training: Training, epoch: "last" | "best"): Choice {
  const scores = { parameters: 1024, loss: 0.5, metrics: { accuracy: 0.8 } };
  return {
    seed: training.seed,
    trained: trainedAs(training),
    epoch,
    budget: 1024,
    selection: { split: "train", examples: 8, start: 0.6, moves: [] },
    precision: "f32",
    split: "validation",
    examples: 8,
    chosen: scores,
    even: [{ rank: 2, ...scores }],
  };
}

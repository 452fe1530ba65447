import {
  assertEquals,
  assertIsError,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import {
  readAdapter,
  tensorsOf,
  writeAdapter,
} from "../../lib/artifacts/adapter.ts";
import type { Training } from "../../lib/artifacts/training.ts";
import reduceAdapter from "../../tasks/reduce-adapter.ts";
import { assertClose, assertSameBits } from "../engine/reference.ts";
import { withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
  referenceTensors,
} from "./reference_adapter.ts";
import { runTask, withFolder } from "./run_task.ts";

const LORA: Training = {
  ...REFERENCE_TRAINING,
  method: "lora",
  scaling: "maximum",
  mode: null,
  sampler: null,
  scope: null,
};

Deno.test("evaluate-ranks scores a reduced adapter at every rank, and at its own as the LoRA that it was", () =>
  withEngineStages(async (stages) => {
    const { given } = stages;
    const lora = await referenceAdapter(stages.folder, LORA);
    const reduce = async (by: "truncation" | "svd") => {
      const { output } = await runTask(reduceAdapter, stages.folder, { by }, {
        adapter: lora,
      });
      return output;
    };
    const truncated = await reduce("truncation");
    const factored = await reduce("svd");
    assertEquals((await readAdapter(truncated)).training, {
      ...LORA,
      method: "lora-truncated",
    });
    assertEquals((await readAdapter(factored)).training.method, "lora-svd");

    const whole = await logitsByRank(stages, { ...given, adapter: lora }, {});
    assertEquals([...whole.keys()], [LORA.rank]);
    assertSameBits(
      await logitsByRank(stages, { ...given, adapter: truncated }, {
        ranks: [LORA.rank],
      }),
      whole,
    );
    const byTruncation = await logitsByRank(stages, {
      ...given,
      adapter: truncated,
    }, {});
    const bySvd = await logitsByRank(
      stages,
      { ...given, adapter: factored },
      {},
    );
    for (const logits of [byTruncation, bySvd]) {
      assertEquals([...logits.keys()], [1, 2, 3, 4]);
      assertClose(
        logits.get(LORA.rank)!,
        whole.get(LORA.rank)!,
        1e-4,
        "logits at the adapter's own rank",
      );
    }
    assertNotEquals(byTruncation.get(1), bySvd.get(1));
  }));

Deno.test("reduce-adapter by truncation keeps every tensor", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, LORA);
    const { output } = await runTask(reduceAdapter, folder, {
      by: "truncation",
    }, { adapter });
    assertSameBits(
      (await readAdapter(output)).tensors,
      referenceTensors("roberta"),
    );
  }));

Deno.test("reduce-adapter reduces the best epoch with the last", () =>
  withFolder(async (folder) => {
    const scores = { rank: LORA.rank, metrics: { accuracy: 0.5 } };
    const last = referenceTensors("roberta");
    const best = Object.fromEntries(
      Object.entries(last).map((
        [name, { shape, values }],
      ) => [name, {
        shape,
        values: Float32Array.from(values, (it) => it / 2),
      }]),
    );
    const adapter = join(folder, "selected");
    await Deno.mkdir(adapter);
    await writeAdapter(adapter, {
      baseModel: undefined,
      training: {
        ...LORA,
        selection: {
          split: "validation",
          examples: 8,
          metric: "accuracy",
          flops: 1e6,
          best: 1,
          epochs: [{ epoch: 1, step: 5, score: 0.5, ranks: [scores] }],
        },
      },
      tensors: last,
      best,
    });
    const { output } = await runTask(reduceAdapter, folder, {
      by: "truncation",
    }, { adapter });
    const reduced = await readAdapter(output);
    assertSameBits(tensorsOf(reduced, "last"), last);
    assertSameBits(tensorsOf(reduced, "best"), best);
  }));

Deno.test("reduce-adapter refuses an adapter that serves every rank already", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    assertIsError(
      await assertRejects(() =>
        runTask(reduceAdapter, folder, { by: "svd" }, { adapter })
      ),
      Error,
      /method is "dylora", and only "lora" can be reduced.* Connect a stage of train-lora/,
    );
  }));

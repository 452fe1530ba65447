import {
  assertEquals,
  assertIsError,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import {
  afterEpoch,
  readAdapter,
  writeAdapter,
} from "../../lib/peft/adapter.ts";
import { servedRanks } from "../../lib/artifacts/training.ts";
import reduceAdapter from "../../tasks/reduce-adapter.ts";
import { assertClose, assertSameBits } from "../engine/reference.ts";
import { withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";
import {
  REFERENCE_LORA as LORA,
  REFERENCE_TRAINING,
  referenceAdapter,
  referenceTensors,
} from "./reference_adapter.ts";
import { runTask, withFolder } from "./run_task.ts";

Deno.test("evaluate-ranks scores a reduced adapter at every rank, at its own like the original LoRA", () =>
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
      reducedBy: "truncation",
    });
    assertEquals((await readAdapter(factored)).training.reducedBy, "svd");

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

Deno.test("reduce-adapter makes an imported LoRA serve every rank", () =>
  withFolder(async (folder) => {
    const { task, problem, labels, rank, alpha, targetModules, seed } = LORA;
    const adapter = join(folder, "imported");
    await Deno.mkdir(adapter);
    await writeAdapter(adapter, {
      baseModel: undefined,
      training: {
        method: { name: "lora" },
        imported: true,
        reducedBy: null,
        ...{ task, problem, labels, rank, alpha, targetModules, seed },
        scaling: "maximum",
        maxLength: null,
        selection: null,
      },
      tensors: referenceTensors("roberta"),
    });
    for (const by of ["truncation", "svd"] as const) {
      const { output } = await runTask(reduceAdapter, folder, { by }, {
        adapter,
      });
      const { training } = await readAdapter(output);
      assertEquals(training.reducedBy, by);
      assertEquals(servedRanks(training), [1, 2, 3, 4]);
    }
  }));

Deno.test("reduce-adapter keeps every tensor by truncation", () =>
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

Deno.test("reduce-adapter reduces the best epoch as well as the last", () =>
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
    assertSameBits(afterEpoch(reduced, "last").tensors, last);
    assertSameBits(afterEpoch(reduced, "best").tensors, best);
  }));

Deno.test("reduce-adapter rejects an adapter that serves every rank already", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    assertIsError(
      await assertRejects(() =>
        runTask(reduceAdapter, folder, { by: "svd" }, { adapter })
      ),
      Error,
      /method "dylora" cannot be reduced: connect a stage .*train-lora/,
    );
  }));

import { assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import {
  readTraining,
  type Sampler,
  servedRanks,
} from "../../lib/artifacts/training.ts";
import { readScores } from "../../lib/artifacts/scores.ts";
import { withEngineStages } from "./engine_stages.ts";

Deno.test("train-dylora keeps the epoch with the best mean over all ranks from the lowest that it drew, and evaluate-ranks scores it as recorded", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const common = { rank: 4, epochs: 3, learningRate: 1e-2, batchSize: 8 };
    const params = { ...common, sampler: { kind: "uniform", minRank: 2 } };
    const selected = await run("train-dylora", {
      ...params,
      selectOn: "validation",
    }, given);
    const { selection, ...training } = await readTraining(selected);
    const { epochs, best, metric, split, examples } = selection!;
    assertEquals([metric, split, examples], ["accuracy", "validation", 32]);
    assertEquals(epochs.map(({ epoch, step }) => [epoch, step]), [
      [1, 8],
      [2, 16],
      [3, 24],
    ]);
    for (const { score, ranks } of epochs) {
      assertEquals(ranks.map(({ rank }) => rank), [2, 3, 4]);
      const mean = ranks.reduce((sum, it) => sum + it.metrics.accuracy!, 0) / 3;
      assertAlmostEquals(score, mean, 1e-12);
    }
    const highest = Math.max(...epochs.map(({ score }) => score));
    assertEquals(best, epochs.find(({ score }) => score === highest)!.epoch);

    for (const [epoch, number] of [["last", 3], ["best", best]] as const) {
      const scored = await run("evaluate-ranks", { epoch }, {
        ...given,
        adapter: selected,
      });
      const info = await readScores(scored);
      assertEquals(info.epoch, epoch);
      assertEquals(info.ranks, epochs[number - 1]!.ranks);
      // One evaluation at all ranks for each epoch.
      assertEquals(selection!.flops, epochs.length * info.flops);
    }

    const plain = await run("train-dylora", params, given);
    assertEquals(await readTraining(plain), {
      ...training,
      selection: null,
    });
    const weights = (folder: string) =>
      Deno.readFile(join(folder, "adapter_model.safetensors"));
    assertEquals(await weights(plain), await weights(selected));

    const missing = await attempt("train-lora", {
      ...common,
      selectOn: "held_out",
    }, given);
    assertEquals(missing.code, 1);
    assertMatch(missing.text, /have no split .*held_out/);
    const refused = await attempt("predict", { epoch: "best" }, {
      ...given,
      adapter: plain,
    });
    assertEquals(refused.code, 1);
    assertMatch(
      refused.text,
      /keeps no best epoch: train it with .*selectOn: validation/,
    );
  }));

Deno.test("evaluate-ranks refuses ranks that were not trained, and trainings and evaluations tokens of another tokenizer", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const params = { rank: 4, epochs: 1, batchSize: 8 };
    const lora = await run("train-lora", params, given);
    const cut = await attempt("evaluate-ranks", { ranks: [2, 4] }, {
      ...given,
      adapter: lora,
    });
    assertEquals(cut.code, 1);
    assertMatch(
      cut.text,
      /A LoRA of rank 4 has no rank 2: cut it by reduce-adapter/,
    );
    const sampler = { kind: "list", ranks: [2, 4] };
    const dylora = await run("train-dylora", { ...params, sampler }, given);
    const low = await attempt("evaluate-ranks", { ranks: [1] }, {
      ...given,
      adapter: dylora,
    });
    assertEquals(low.code, 1);
    assertMatch(
      low.text,
      /Rank 1 was not trained: the adapter has the ranks from 2/,
    );

    const model = join(import.meta.dirname!, "../../fixtures/tiny-bert");
    const data = await run("fetch-glue", {
      task: "rte",
      source: join(import.meta.dirname!, "../../fixtures/tiny-glue"),
      limit: { train: 64, validation: 32 },
    });
    const tokens = await run("tokenize", {}, { model, data });
    const foreign =
      /made by another tokenizer than the model's: connect tokens that were made with this model/;
    for (
      const [task, params, inputs] of [
        ["train-lora", { rank: 4 }, {}],
        ["train-head", {}, {}],
        ["evaluate-ranks", {}, { adapter: dylora }],
        ["predict", { split: "validation" }, { adapter: dylora }],
        ["choose-ranks", { averageRank: 2 }, { adapter: dylora }],
      ] as const
    ) {
      const refused = await attempt(task, params, {
        model: given.model,
        tokens,
        ...inputs,
      });
      assertEquals(refused.code, 1, task);
      assertMatch(refused.text, foreign, task);
    }
  }));

Deno.test("servedRanks() of LoRA is its own rank, of others all from the lowest that was trained", () => {
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

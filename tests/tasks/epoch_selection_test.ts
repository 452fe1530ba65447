import assert from "node:assert/strict";
import { join } from "node:path";
import { readTraining } from "../../tasks/artifacts/training.ts";
import { readScores } from "../../tasks/artifacts/scores.ts";
import { withEngineStages } from "./engine_stages.ts";

Deno.test("train-dylora keeps the epoch with the best mean over all ranks from the lowest that it drew, and evaluate-ranks scores it as recorded", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const params = {
      rank: 4,
      sampler: { kind: "uniform", minRank: 2 },
      epochs: 3,
      learningRate: 1e-2,
      batchSize: 8,
    };
    const selected = await run("train-dylora", {
      ...params,
      selectOn: "validation",
    }, given);
    const { selection, ...training } = await readTraining(selected);
    const { epochs, best, metric, split, examples } = selection!;
    assert.deepEqual([metric, split, examples], ["accuracy", "validation", 32]);
    assert.deepEqual(epochs.map(({ epoch, step }) => [epoch, step]), [
      [1, 8],
      [2, 16],
      [3, 24],
    ]);
    for (const { score, ranks } of epochs) {
      assert.deepEqual(ranks.map(({ rank }) => rank), [2, 3, 4]);
      const mean = ranks.reduce((sum, it) => sum + it.metrics.accuracy!, 0) / 3;
      assert(Math.abs(score - mean) < 1e-12);
    }
    const highest = Math.max(...epochs.map(({ score }) => score));
    assert.equal(best, epochs.find(({ score }) => score === highest)!.epoch);

    for (const [epoch, number] of [["last", 3], ["best", best]] as const) {
      const scored = await run("evaluate-ranks", { epoch }, {
        ...given,
        adapter: selected,
      });
      const info = await readScores(scored);
      assert.equal(info.epoch, epoch);
      assert.deepEqual(info.ranks, epochs[number - 1]!.ranks);
      // One evaluation at all ranks for each epoch.
      assert.equal(selection!.flops, epochs.length * info.flops);
    }

    const plain = await run("train-dylora", params, given);
    assert.deepEqual(await readTraining(plain), {
      ...training,
      selection: null,
    });
    const weights = (folder: string) =>
      Deno.readFile(join(folder, "adapter_model.safetensors"));
    assert.deepEqual(await weights(plain), await weights(selected));

    const refused = await attempt("predict", { epoch: "best" }, {
      ...given,
      adapter: plain,
    });
    assert.equal(refused.code, 1);
    assert.match(
      refused.text,
      /keeps no best epoch: train it with .*selectOn: validation/,
    );
  }));

Deno.test("train-lora selects by its own rank, and names a split that is missing", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const params = { rank: 2, epochs: 1 };
    const refused = await attempt(
      "train-lora",
      { ...params, selectOn: "held_out" },
      given,
    );
    assert.equal(refused.code, 1);
    assert.match(refused.text, /have no split .*held_out/);
    const adapter = await run(
      "train-lora",
      { ...params, selectOn: "validation" },
      given,
    );
    const { selection } = await readTraining(adapter);
    assert.deepEqual(selection!.epochs[0]!.ranks.map(({ rank }) => rank), [2]);
    const reduced = await run("reduce-adapter", { by: "svd" }, { adapter });
    const scored = await run("evaluate-ranks", { epoch: "best" }, {
      ...given,
      adapter: reduced,
    });
    const { ranks } = await readScores(scored);
    assert.deepEqual(ranks.map(({ rank }) => rank), [1, 2]);
  }));

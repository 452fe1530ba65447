import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";
import { readTraining } from "./reference_adapter.ts";

Deno.test("train-dylora divides alpha by its own rank with scaling: maximum, and exports keep that scale", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const params = { rank: 4, alpha: 8, epochs: 1, learningRate: 1e-2 };
    const [byRank, byMaximum] = [
      await run("train-dylora", params, given),
      await run("train-dylora", { ...params, scaling: "maximum" }, given),
    ];
    assertEquals((await readTraining(byRank)).scaling, "rank");
    assertEquals((await readTraining(byMaximum)).scaling, "maximum");

    const alphaOf = async (adapter: string) => {
      const folder = await run("export-adapter", { rank: 1 }, { adapter });
      const path = join(folder, "adapter_config.json");
      const { r, lora_alpha } = JSON.parse(await Deno.readTextFile(path));
      assertEquals(r, 1);
      return lora_alpha;
    };
    assertEquals(await alphaOf(byRank), 8);
    assertEquals(await alphaOf(byMaximum), 2);

    const refused = await attempt("train-dylora", params, {
      ...given,
      start: byMaximum,
    });
    assertEquals(refused.code, 1);
    assertMatch(
      refused.text,
      /has scaling maximum, but this .* has scaling rank/,
    );
  }));

Deno.test("train-dylora divides alpha by the root of the rank with useRslora, as PEFT does with use_rslora, and so do trainings that start from it", () =>
  withEngineStages(async ({ run, given }) => {
    const params = { rank: 4, alpha: 8, epochs: 1, learningRate: 1e-2 };
    const first = { ...params, useRslora: true };
    const start = await run("train-dylora", first, given);
    const next = await run("train-dylora", params, { ...given, start });
    for (const adapter of [start, next]) {
      const { alpha, scaling } = await readTraining(adapter);
      assertEquals([alpha, scaling], [8, { rslora: "rank" }]);
      const exported = await run("export-adapter", { rank: 2 }, { adapter });
      const { r, lora_alpha, use_rslora } = JSON.parse(
        await Deno.readTextFile(join(exported, "adapter_config.json")),
      );
      assertEquals([r, lora_alpha, use_rslora], [2, 8, true]);
    }
  }));

Deno.test("evaluate-ranks scores powers of two and the largest rank", () =>
  withEngineStages(async (stages) => {
    const { run, given } = stages;
    const adapter = await run("train-dylora", {
      ...{ rank: 6, epochs: 1, learningRate: 1e-2 },
    }, given);
    const inputs = { ...given, adapter };
    const logits = await logitsByRank(stages, inputs, { ranks: "powers" });
    assertEquals([...logits.keys()], [1, 2, 4, 6]);
  }));

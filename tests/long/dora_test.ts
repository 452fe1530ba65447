import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { readAdapter, writeAdapter } from "../../lib/peft/adapter.ts";
import { assertClose } from "../engine/reference.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { logitsByRank } from "../tasks/logits_by_rank.ts";

const params = { rank: 4, alpha: 8, epochs: 4, learningRate: 2e-2 };

Deno.test("train-dylora trains a DoRA, whose logits at each rank its export and its merged model have", () =>
  withEngineStages(async (stages) => {
    const { run, attempt, given, folder } = stages;
    const adapter = await run("train-dylora", {
      ...params,
      adapter: "dora",
      scope: "example",
    }, given);
    const { training, tensors, baseModel } = await readAdapter(adapter);
    assertEquals(training.adapter, "dora");
    const whole = await logitsByRank(stages, { ...given, adapter });
    assertEquals([...whole.keys()], [1, 2, 3, 4]);

    const source = await run("export-adapter", { rank: 2 }, { adapter });
    const config = JSON.parse(
      Deno.readTextFileSync(join(source, "adapter_config.json")),
    );
    assertEquals([config.peft_type, config.use_dora, config.r], [
      "LORA",
      true,
      2,
    ]);
    const imported = await run("import-adapter", { source }, given);
    const again = await logitsByRank(stages, { ...given, adapter: imported });
    assertClose(again.get(2)!, whole.get(2)!, 1e-6, "imported");

    // The head on the merged model, with a LoRA of zeros.
    const head = await Deno.makeTempDir({ dir: folder });
    await writeAdapter(head, {
      baseModel,
      training: { ...training, adapter: undefined },
      tensors: Object.fromEntries(
        Object.entries(tensors).flatMap(([name, { shape, values }]) => {
          if (name.endsWith("lora_magnitude_vector")) return [];
          const isZero = name.includes(".lora_");
          const kept = isZero ? values.map(() => 0) : values;
          return [[name, { shape, values: kept }]];
        }),
      ),
    });
    const model = await run("merge", { rank: 2 }, {
      model: given.model,
      adapter,
    });
    const merged = await logitsByRank(stages, {
      ...given,
      model,
      adapter: head,
    }, { ranks: [1] });
    assertClose(merged.get(1)!, whole.get(2)!, 1e-5, "merged");

    const goesOn = await attempt("train-lora", params, {
      ...given,
      start: adapter,
    });
    assertEquals(goesOn.code, 0, goesOn.text);
    const other = await attempt("train-lora", { ...params, adapter: "lora" }, {
      ...given,
      start: adapter,
    });
    assertMatch(
      other.text,
      /has adapter dora, but this training has adapter lora/,
    );
  }));

Deno.test("reduce-adapter sorts the ranks of a DoRA and keeps its logits", () =>
  withEngineStages(async (stages) => {
    const { run, given } = stages;
    const adapter = await run("train-lora", {
      ...params,
      adapter: "dora",
    }, given);
    const reduced = await run("reduce-adapter", { by: "svd" }, { adapter });
    const [before, after] = [
      await logitsByRank(stages, { ...given, adapter }),
      await logitsByRank(stages, { ...given, adapter: reduced }),
    ];
    assertEquals([...before.keys()], [4]);
    assertEquals([...after.keys()], [1, 2, 3, 4]);
    assertClose(after.get(4)!, before.get(4)!, 1e-5, "rank 4");
    assert(after.get(1)!.some((it, i) => Math.abs(it - after.get(4)![i]!) > 0));
  }));

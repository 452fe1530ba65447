import { assertAlmostEquals, assertEquals } from "@std/assert";
import { readAdapter, writeAdapter } from "../../lib/artifacts/adapter.ts";
import { writeRanks } from "../../lib/artifacts/ranks.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { modulesOf } from "../../lib/engine/models/peft.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import merge from "../../tasks/merge.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../tasks/reference_adapter.ts";
import { runTask } from "../tasks/run_task.ts";

const TOLERANCE = 1e-5;

Deno.test("evaluate-ranks with a rank for each module gives the logits of the model merged at them", () =>
  withEngineStages(async ({ folder, given, sandboxed, run }) => {
    const training = { ...REFERENCE_TRAINING, task: "rte" };
    const adapter = await referenceAdapter(folder, training);
    const modules = modulesOf(
      Object.keys((await readAdapter(adapter)).tensors),
    );
    const ranks = await Deno.makeTempDir({ dir: folder });
    await writeRanks(ranks, {
      task: "rte",
      modules: new Map(modules.map((name, i) => [name, 1 + i])),
    });
    const params = { ranks: [2, 4], precision: "f32" };
    const inputs = { ...given, adapter, ranks };
    const scored = await sandboxed("evaluate-ranks", params, inputs);
    assertEquals(scored.code, 0, scored.text);
    const { byModule } = await readScores(scored.output);
    assertEquals(byModule!.parameters, (1 + 2 + 3 + 4) * 2 * 64);

    const merged = await runTask(merge, folder, {}, {
      model: given.model,
      adapter,
      ranks,
    });
    const headOnly = await withoutLora(folder, adapter);
    const expected = readOutputs(
      await run("evaluate-ranks", { ...params, ranks: [1] }, {
        ...given,
        model: merged.output,
        adapter: headOnly,
      }),
    ).logits;
    const found = readOutputs(scored.output).byModule!;
    assertEquals(found.length, expected.length);
    found.forEach((logit, i) =>
      assertAlmostEquals(logit, expected[i]!, TOLERANCE)
    );
    await runTask(exportAdapter, folder, {}, { adapter, ranks });
  }));

/** The adapter with zeros for lora_B: its head alone. */
async function withoutLora(folder: string, adapter: string): Promise<string> {
  const { tensors, ...rest } = await readAdapter(adapter);
  const path = await Deno.makeTempDir({ dir: folder });
  await writeAdapter(path, {
    ...rest,
    tensors: Object.fromEntries(
      Object.entries(tensors).map(([name, { shape, values }]) => [name, {
        shape,
        values: name.includes("lora_B") ? values.map(() => 0) : values,
      }]),
    ),
  });
  return path;
}

import { assert, assertEquals, assertRejects } from "@std/assert";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { readAdapter, writeAdapter } from "../../lib/peft/adapter.ts";
import merge from "../../tasks/merge.ts";
import { assertClose } from "../engine/reference.ts";
import { withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";
import { REFERENCE_TRAINING, referenceAdapter } from "./reference_adapter.ts";
import { runTask, withFolder } from "./run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

for (
  const [family, targetModules] of [
    ["roberta", ["query", "value"]],
    ["llama", ["q_proj", "v_proj"]],
  ] as const
) {
  Deno.test(`merge makes a model with the logits that evaluate-ranks computed with the adapter, ${family}`, () =>
    withEngineStages(async (stages) => {
      const { folder, given } = stages;
      const adapter = await referenceAdapter(
        folder,
        { ...REFERENCE_TRAINING, targetModules },
        family,
      );
      const expected = await logitsByRank(stages, { ...given, adapter });
      const { training, tensors, baseModel } = await readAdapter(adapter);
      const headOnly = await Deno.makeTempDir({ dir: folder });
      await writeAdapter(headOnly, {
        baseModel,
        training,
        tensors: Object.fromEntries(
          Object.entries(tensors).map(([name, { shape, values }]) => [
            name,
            {
              shape,
              values: name.includes("lora_B") ? values.map(() => 0) : values,
            },
          ]),
        ),
      });
      for (const rank of [1, 3]) {
        const { output: model } = await runTask(merge, folder, { rank }, {
          model: given.model,
          adapter,
        });
        const merged = await logitsByRank(stages, {
          ...given,
          model,
          adapter: headOnly,
        }, { ranks: [1] });
        assertClose(
          merged.get(1)!,
          expected.get(rank)!,
          1e-5,
          `logits of the model merged at rank ${rank}`,
        );
      }
    }, join(fixtures, `tiny-${family}`)));
}

Deno.test("merge writes the tensors and labels of a classifier and nothing else", () =>
  withFolder(async (folder) => {
    for (const family of ["bert", "roberta"]) {
      const model = join(fixtures, `tiny-${family}`);
      const labels = ["negative", "positive"];
      const adapter = await referenceAdapter(
        folder,
        { ...REFERENCE_TRAINING, labels },
        family,
      );
      const { output } = await runTask(merge, folder, {}, { model, adapter });
      const config = JSON.parse(
        await Deno.readTextFile(join(output, "config.json")),
      );
      assertEquals(config.id2label, { 0: "negative", 1: "positive" });
      assertEquals(config.label2id, { negative: 0, positive: 1 });
      using file = SafetensorsFile.open(join(output, "model.safetensors"));
      using before = SafetensorsFile.open(join(model, "model.safetensors"));
      const heads = [...file.tensors.keys()].filter((name) =>
        !/\.(embeddings|encoder)\./.test(name)
      ).sort();
      assertEquals(
        heads,
        family === "bert"
          ? [
            "bert.pooler.dense.bias",
            "bert.pooler.dense.weight",
            "classifier.bias",
            "classifier.weight",
          ]
          : [
            "classifier.dense.bias",
            "classifier.dense.weight",
            "classifier.out_proj.bias",
            "classifier.out_proj.weight",
          ],
      );
      const changed = [...file.tensors.keys()].filter((name) => {
        const own = family === "bert" ? name.replace(/^bert\./, "") : name;
        return before.tensors.has(own) &&
          String(before.floats(own)) !== String(file.floats(name));
      });
      assertEquals(
        changed.sort(),
        [0, 1].flatMap((layer) =>
          ["query", "value"].map((module) =>
            `${family}.encoder.layer.${layer}.attention.self.${module}.weight`
          )
        ),
        "the reference's adapter has the pooler of its model",
      );
    }
  }));

Deno.test("merge leaves out the number of classes that the model's configuration names", () =>
  withFolder(async (folder) => {
    const model = join(folder, "model");
    cpSync(join(fixtures, "tiny-roberta"), model, { recursive: true });
    const path = join(model, "config.json");
    const config = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(
      path,
      JSON.stringify({ ...config, num_labels: 5 }),
    );
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const { output } = await runTask(merge, folder, {}, { model, adapter });
    const merged = await Deno.readTextFile(join(output, "config.json"));
    assert(!("num_labels" in JSON.parse(merged)), merged);
  }));

Deno.test("merge rejects an adapter of another model", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING, "bert");
    const model = join(fixtures, "tiny-roberta");
    await assertRejects(
      () => runTask(merge, folder, {}, { model, adapter }),
      Error,
      'does not fit the model: the model, a roberta, has no module "bert.encoder.layer.0.attention.self.query"',
    );
  }));

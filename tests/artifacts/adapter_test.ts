import {
  assert,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import {
  ADAPTER_FILES,
  readAdapter,
  writeAdapter,
} from "../../lib/artifacts/adapter.ts";
import { findAdapterFault } from "../../lib/engine/models/peft.ts";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";
import { assertSameBits } from "../engine/reference.ts";
import {
  REFERENCE_TRAINING,
  referenceTensors,
} from "../tasks/reference_adapter.ts";
import { withFolder } from "../tasks/run_task.ts";

Deno.test("readAdapter() reads back what writeAdapter() wrote, for both architectures", async () => {
  for (const family of ["roberta", "bert"]) {
    await withFolder(async (folder) => {
      const tensors = referenceTensors(family);
      await writeAdapter(folder, {
        baseModel: { name: "org/tiny", revision: "v1" },
        training: REFERENCE_TRAINING,
        tensors,
      });
      assertEquals(
        [...Deno.readDirSync(folder)].map(({ name }) => name).sort(),
        [...ADAPTER_FILES],
      );
      const adapter = await readAdapter(folder);
      assertEquals(adapter.training, REFERENCE_TRAINING);
      assertSameBits(adapter.tensors, tensors);
      assertEquals(adapter.baseModel, { name: "org/tiny", revision: "v1" });
      const config = JSON.parse(
        Deno.readTextFileSync(join(folder, "adapter_config.json")),
      );
      assertEquals(
        config.modules_to_save,
        family === "bert" ? ["classifier", "pooler"] : ["classifier"],
      );
    });
  }
});

Deno.test("writeAdapter() rejects an adapter with a missing tensor", async () => {
  await withFolder(async (folder) => {
    const tensors = referenceTensors("roberta");
    delete tensors["base_model.model.classifier.out_proj.bias"];
    await assertRejects(
      () =>
        writeAdapter(folder, {
          baseModel: undefined,
          training: REFERENCE_TRAINING,
          tensors,
        }),
      Error,
      'Cannot save the adapter: tensor "base_model.model.classifier.out_proj.bias" is missing',
    );
    assertEquals([...Deno.readDirSync(folder)], []);
  });
});

Deno.test("readAdapter() rejects files that contradict each other", async () => {
  await withFolder(async (folder) => {
    await writeAdapter(folder, {
      baseModel: undefined,
      training: REFERENCE_TRAINING,
      tensors: referenceTensors("bert"),
    });
    const path = join(folder, "training.json");
    const write = (training: unknown) =>
      Deno.writeTextFileSync(path, JSON.stringify(training));

    write({ ...REFERENCE_TRAINING, rank: 3 });
    assertIsError(
      await assertRejects(() => readAdapter(folder)),
      Error,
      /has rank 4 .* rank 3/,
    );
    const { method } = REFERENCE_TRAINING;
    write({ ...REFERENCE_TRAINING, method: { ...method, name: "lora" } });
    await assertRejects(
      () => readAdapter(folder),
      Error,
      'Unrecognized keys: "mode"',
    );
    write({ ...REFERENCE_TRAINING, labels: ["a", "b", "c"] });
    await assertRejects(
      () => readAdapter(folder),
      Error,
      '"base_model.model.classifier.weight" has shape [2,32], expected [3,32]',
    );
    write({ ...REFERENCE_TRAINING, learning_rate: 1 });
    await assertRejects(() => readAdapter(folder), Error, "learning_rate");

    write(REFERENCE_TRAINING);
    const { "base_model.model.classifier.bias": _, ...rest } = referenceTensors(
      "bert",
    );
    writeSafetensors(join(folder, "adapter_model.safetensors"), rest);
    await assertRejects(
      () => readAdapter(folder),
      Error,
      'is not a complete adapter: tensor "base_model.model.classifier.bias" is missing',
    );
  });
});

Deno.test("findAdapterFault() finds every missing, renamed or reshaped tensor", () => {
  for (const family of ["roberta", "bert"]) {
    const shapes = new Map(
      Object.entries(referenceTensors(family)).map(([name, { shape }]) =>
        [name, shape] as const
      ),
    );
    assertEquals(findAdapterFault(shapes, 4, 2), undefined);
    for (const [name, shape] of shapes) {
      const lost = new Map(shapes);
      lost.delete(name);
      assert(findAdapterFault(lost, 4, 2), name);
      assert(findAdapterFault(new Map(lost).set(`${name}s`, shape), 4, 2));
      const longer = shape.with(0, shape[0]! + 1);
      assert(findAdapterFault(new Map(shapes).set(name, longer), 4, 2));
    }
    assert(findAdapterFault(new Map(shapes).set("lm_head", [2]), 4, 2));
  }
});

Deno.test("findAdapterFault() rejects an absurd number of layers without listing them", () => {
  const name =
    "base_model.model.bert.encoder.layer.999999999999.attention.self.query.lora_";
  const shapes = new Map([[`${name}A.weight`, [4, 8]], [
    `${name}B.weight`,
    [8, 4],
  ]]);
  assertEquals(
    findAdapterFault(shapes, 4, 2),
    'module "attention.self.query" has LoRA tensors in 1 of 1000000000000 layers',
  );
});

Deno.test("readAdapter() reads an undefined metric of an epoch as NaN", async () => {
  await withFolder(async (folder) => {
    const selection = {
      split: "validation",
      examples: 8,
      metric: "matthews_correlation",
      flops: 1e6,
      best: 1,
      epochs: [{
        epoch: 1,
        step: 4,
        score: 0,
        ranks: [{ rank: 4, metrics: { matthews_correlation: NaN } }],
      }],
    };
    const tensors = referenceTensors("bert");
    await writeAdapter(folder, {
      baseModel: undefined,
      training: { ...REFERENCE_TRAINING, selection },
      tensors,
      best: tensors,
    });
    const { training } = await readAdapter(folder);
    assertEquals(training.selection, selection);
  });
});

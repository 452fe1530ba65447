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
} from "../../lib/peft/adapter.ts";
import { lora } from "../../lib/engine/adapters/lora.ts";
import { findAdapterFault, findHeadFault } from "../../lib/peft/checks.ts";
import type { AdapterTensors } from "../../lib/engine/adapters/adapter.ts";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";
import { assertSameBits, openReference } from "../engine/reference.ts";
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

Deno.test("writeAdapter() writes nothing if the last or the best epoch lacks a tensor or has one of another shape", async () => {
  await withFolder(async (folder) => {
    const name =
      "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight";
    const tensors = referenceTensors("bert");
    const { [name]: tensor, ...missing } = tensors;
    const wide = { ...tensors, [name]: { ...tensor!, shape: [1, 99] } };
    for (
      const [wrong, message] of [
        [{ tensors: missing }, `"${name}" is missing`],
        [
          { tensors, best: wide },
          `"${name}" has shape [1,99], expected [4,99]`,
        ],
      ] as const
    ) {
      await assertRejects(
        () =>
          writeAdapter(folder, {
            baseModel: undefined,
            training: REFERENCE_TRAINING,
            ...wrong,
          }),
        TypeError,
        `Cannot save the adapter: tensor ${message}`,
      );
      assertEquals([...Deno.readDirSync(folder)], []);
    }
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
      /has "r" 4, but "training.json" requires 3/,
    );
    const { method } = REFERENCE_TRAINING;
    write({ ...REFERENCE_TRAINING, method: { ...method, name: "lora" } });
    await assertRejects(
      () => readAdapter(folder),
      Error,
      'Unrecognized keys: "mode"',
    );
    write({ ...REFERENCE_TRAINING, learning_rate: 1 });
    await assertRejects(() => readAdapter(folder), Error, "learning_rate");

    write(REFERENCE_TRAINING);
    const tensors = referenceTensors("bert");
    const name =
      "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight";
    delete tensors[name];
    writeSafetensors(join(folder, "adapter_model.safetensors"), tensors);
    await assertRejects(
      () => readAdapter(folder),
      Error,
      `is not a complete adapter: tensor "${name}" is missing`,
    );
  });
});

Deno.test("findAdapterFault() and findHeadFault() find every missing, renamed or reshaped tensor", () => {
  for (const family of ["roberta", "bert", "modernbert", "llama"]) {
    const { model } = openReference(family);
    const faultOf = (tensors: AdapterTensors) =>
      findAdapterFault(lora, tensors, 4) ?? findHeadFault(tensors, model, 2);
    const tensors = referenceTensors(family);
    assertEquals(faultOf(tensors), undefined);
    for (const [name, tensor] of Object.entries(tensors)) {
      const { [name]: _, ...lost } = tensors;
      assert(faultOf(lost), name);
      assert(faultOf({ ...lost, [`${name}s`]: tensor }));
      const shape = tensor.shape.with(0, tensor.shape[0]! + 1);
      assert(faultOf({ ...tensors, [name]: { ...tensor, shape } }));
    }
    assert(
      faultOf({
        ...tensors,
        lm_head: { shape: [2], values: new Float32Array(2) },
      }),
    );
  }
});

Deno.test("findAdapterFault() rejects an absurd number of layers without listing them", () => {
  const name =
    "base_model.model.bert.encoder.layer.999999999999.attention.self.query.lora_";
  const tensors = {
    [`${name}A.weight`]: { shape: [4, 8] },
    [`${name}B.weight`]: { shape: [8, 4] },
  };
  assertEquals(
    findAdapterFault(lora, tensors, 4),
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

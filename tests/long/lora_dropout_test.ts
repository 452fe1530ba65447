import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { readAdapter } from "../../lib/peft/adapter.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { readTraining } from "../tasks/reference_adapter.ts";

for (const name of ["tiny-roberta", "tiny-albert"]) {
  Deno.test(`train-lora drops inputs of the LoRA with loraDropout, as its files say, ${name}`, () =>
    withEngineStages(async ({ run, attempt, given }) => {
      const params = {
        ...{ rank: 2, epochs: 1, learningRate: 1e-2, batchSize: 16 },
        ...{ targetModules: "all-linear", dropout: true },
      };
      const dropped = { ...params, loraDropout: 0.5 };
      const [plain, first, again] = [
        await run("train-lora", params, given),
        await run("train-lora", dropped, given),
        await run("train-lora", dropped, given),
      ];
      const of = (adapter: string, file: string) =>
        Deno.readFile(join(adapter, file));
      const tensors = "adapter_model.safetensors";
      assertEquals(await of(first, tensors), await of(again, tensors));
      assertNotEquals(await of(first, tensors), await of(plain, tensors));
      assertEquals((await readTraining(plain)).loraDropout, undefined);
      assertEquals((await readTraining(first)).loraDropout, 0.5);
      const config = join(first, "adapter_config.json");
      const { lora_dropout } = JSON.parse(await Deno.readTextFile(config));
      assertEquals(lora_dropout, 0.5);
      const source = first;
      const imported = await run("import-adapter", { source }, given);
      const { training } = await readAdapter(imported);
      assertEquals(training.loraDropout, 0.5);
      assertEquals(
        await attempt("train-lora", { ...dropped, adapter: "dora" }, given),
        {
          code: 1,
          text:
            '"loraDropout: 0.5" is not supported with "adapter: dora", whose frozen product PEFT drops as well: use 0, or "adapter: lora"',
        },
      );
    }, join(import.meta.dirname!, "../../fixtures", name)));
}

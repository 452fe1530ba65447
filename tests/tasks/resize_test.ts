import { assert, assertEquals, assertRejects } from "@std/assert";
import resize from "../../tasks/resize.ts";
import { factors, PEFT, writeFolder } from "../resize/lora_file.ts";
import { runSandboxed } from "./run_sandboxed.ts";
import { runTask, withFolder } from "./run_task.ts";

const tensors = {
  ...factors("base_model.model.l.1.q", [9, 7, 6], PEFT),
  ...factors("base_model.model.l.2.q", [9, 7, 6], PEFT),
};

Deno.test("resize makes a PEFT folder of another, in its own process as in this one", () =>
  withFolder(async (folder) => {
    const adapter = writeFolder(folder, "peft", tensors);
    const { output, metrics, log } = await runTask(
      resize,
      folder,
      { energy: 0.8 },
      { adapter },
    );
    assert(metrics.get("energy")! >= 0.8);
    assertEquals(log, ["PEFT: 2 modules of rank 6"]);
    const config = JSON.parse(
      Deno.readTextFileSync(`${output}/adapter_config.json`),
    );
    assert(config.r < 6);
    const alone = await runSandboxed("resize", folder, {
      source: adapter,
      energy: 0.8,
    });
    assertEquals(alone.code, 0, alone.text);
    for (const name of ["adapter_model.safetensors", "README.md"]) {
      assertEquals(
        Deno.readFileSync(`${alone.output}/${name}`),
        Deno.readFileSync(`${output}/${name}`),
      );
    }
  }));

Deno.test("resize takes one choice of ranks and one adapter", () =>
  withFolder(async (folder) => {
    assert(!resize.params.safeParse({}).success);
    assert(!resize.params.safeParse({ rank: 2, energy: 0.5 }).success);
    const adapter = writeFolder(folder, "peft", tensors);
    for (
      const [source, inputs] of [[undefined, {}], [adapter, {
        adapter,
      }]] as const
    ) {
      await assertRejects(
        () => runTask(resize, folder, { source, rank: 2 }, inputs),
        RangeError,
        'the parameter "source" or the input "adapter", not both',
      );
    }
  }));

import { join } from "node:path";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";
import { referenceTensors } from "./reference_adapter.ts";

/** Writes an adapter below a folder as PEFT does; gives its path. */
export async function peftFolder(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  tensors = referenceTensors("roberta"),
): Promise<string> {
  const path = await Deno.makeTempDir({ dir: folder });
  await Deno.writeTextFile(
    join(path, "adapter_config.json"),
    JSON.stringify({
      peft_type: "LORA",
      task_type: "SEQ_CLS",
      r: 4,
      lora_alpha: 8,
      bias: "none",
      use_dora: false,
      rank_pattern: {},
      target_modules: ["value", "query"],
      ...config,
    }),
  );
  writeSafetensors(join(path, "adapter_model.safetensors"), tensors);
  return path;
}

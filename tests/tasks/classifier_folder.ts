import { join } from "node:path";
import { MODEL_EXTRA_FILES } from "../../lib/artifacts/model.ts";
import { headTensors } from "../../lib/engine/models/outline.ts";
import { parseModel } from "../../lib/engine/models/registry.ts";
import {
  elementCount,
  SafetensorsFile,
} from "../../lib/engine/safetensors/reader.ts";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";

/**
 * Writes a model folder again, below a folder, with a classification head of
 * zeros; gives its path.
 */
export function classifierFolder(
  folder: string,
  model: string,
  outputs: number,
): string {
  const path = Deno.makeTempDirSync({ dir: folder });
  const names = ["config.json", "tokenizer.json", ...MODEL_EXTRA_FILES];
  for (const { name } of Deno.readDirSync(model)) {
    if (names.includes(name)) {
      Deno.copyFileSync(join(model, name), join(path, name));
    }
  }
  const described = parseModel(
    Deno.readTextFileSync(join(model, "config.json")),
  );
  using file = SafetensorsFile.open(join(model, "model.safetensors"));
  writeSafetensors(
    join(path, "model.safetensors"),
    Object.fromEntries([
      ...[...file.tensors].map(([name, { shape }]) => [
        name,
        { shape, values: file.floats(name) },
      ]),
      ...headTensors(described, outputs).map(({ name, shape }) => [
        name,
        { shape, values: new Float32Array(elementCount(shape)) },
      ]),
    ]),
    { format: "pt" },
  );
  return path;
}

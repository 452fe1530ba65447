import { seededRandom } from "../../lib/engine/random.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import {
  type TensorValues,
  writeSafetensors,
} from "../../lib/engine/safetensors/writer.ts";

/** Names of A, B and alpha of a module in kohya's files. */
export const KOHYA = [
  ".lora_down.weight",
  ".lora_up.weight",
  ".alpha",
] as const;

/** Names of A and B in those of diffusers and PEFT. */
export const PEFT = [".lora_A.weight", ".lora_B.weight"] as const;

/** Random factors of a module, B with decaying columns. */
export function factors(
  module: string,
  [outputs, inputs, rank]: readonly [number, number, number],
  [a, b, alphaName]: readonly [string, string, string?],
  alpha = 1,
): Record<string, TensorValues> {
  const random = seededRandom(1, module);
  const normal = () => random.next() + random.next() - 1;
  return {
    [module + a]: {
      shape: [rank, inputs],
      values: Float32Array.from({ length: rank * inputs }, normal),
    },
    [module + b]: {
      shape: [outputs, rank],
      values: Float32Array.from(
        { length: outputs * rank },
        (_, i) => normal() * 0.7 ** (i % rank),
      ),
    },
    ...(alphaName && {
      [module + alphaName]: { shape: [], values: Float32Array.of(alpha) },
    }),
  };
}

/** Writes a file below a folder; gives its path. */
export function writeFile(
  folder: string,
  name: string,
  tensors: Readonly<Record<string, TensorValues>>,
  metadata: Readonly<Record<string, string>> = {},
): string {
  const path = `${folder}/${name}`;
  writeSafetensors(path, tensors, metadata);
  return path;
}

/** Writes a PEFT folder below a folder; gives its path. */
export function writeFolder(
  folder: string,
  name: string,
  tensors: Readonly<Record<string, TensorValues>>,
  config: Readonly<Record<string, unknown>> = {},
): string {
  const path = `${folder}/${name}`;
  Deno.mkdirSync(path);
  writeFile(path, "adapter_model.safetensors", tensors);
  Deno.writeTextFileSync(
    `${path}/adapter_config.json`,
    JSON.stringify({
      peft_type: "LORA",
      r: 6,
      lora_alpha: 3,
      lora_dropout: 0.5,
      target_modules: ["q", "v"],
      ...config,
    }),
  );
  return path;
}

/** The update of a module in a file, row-major: `scale B A`. */
export function updateOf(
  path: string,
  module: string,
  [a, b, alphaName]: readonly [string, string, string?],
  scale = 1,
): number[] {
  using file = SafetensorsFile.open(path);
  const [rank] = file.tensors.get(module + a)!.shape as [number];
  const [down, up] = [file.floats(module + a), file.floats(module + b)];
  const factor = alphaName === undefined
    ? scale
    : file.floats(module + alphaName)[0]! / rank;
  const inputs = down.length / rank;
  const update = new Array<number>(up.length / rank * inputs).fill(0);
  return update.map((_, at) => {
    const [row, column] = [Math.floor(at / inputs), at % inputs];
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      sum += up[row * rank + k]! * down[k * inputs + column]!;
    }
    return factor * sum;
  });
}

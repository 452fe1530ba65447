import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import { moduleOf, type ModuleRanks } from "../artifacts/module_ranks.ts";
import type { AdapterTensors } from "../artifacts/peft_files.ts";
import { checkRank } from "../artifacts/rank.ts";

/**
 * The tensors with each module cut to its rank: the first rows of `lora_A`,
 * the first columns of `lora_B`. The head stays as it is.
 *
 * @throws {RangeError} If a module has no rank, or fewer rows than that.
 */
export function cutTensors(
  tensors: AdapterTensors,
  ranks: ModuleRanks,
): Record<string, TensorValues> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const module = moduleOf(name);
      if (module === undefined) return [name, tensor];
      const rank = ranks.get(module);
      if (rank === undefined) throw new RangeError(`"${module}" has no rank`);
      const cut = name.includes(".lora_A.") ? firstRows : firstColumns;
      return [name, cut(tensor, rank, module)];
    }),
  );
}

function firstRows(
  { shape, values }: TensorValues,
  count: number,
  module: string,
): TensorValues {
  const [rows, columns] = shape as [number, number];
  checkRank(count, rows, module);
  return {
    shape: [count, columns],
    values: values.slice(0, count * columns),
  };
}

function firstColumns(
  { shape, values }: TensorValues,
  count: number,
  module: string,
): TensorValues {
  const [rows, columns] = shape as [number, number];
  checkRank(count, columns, module);
  const cut = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    cut.set(values.subarray(start, start + count), row * count);
  }
  return { shape: [rows, count], values: cut };
}

import { productSvd } from "../engine/adapters/svd.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import type { Module, Part } from "./adapter.ts";
import { tensorsAt } from "./rewrite.ts";

/**
 * A file that gets the factors of a module, which was made with room for them.
 */
export interface ModuleOutput {
  readonly path: string;
  readonly rank: number;
  /** Type of its factors; undefined for that of the module's own. */
  readonly dtype: string | undefined;
}

/** A module to decompose, and where to write it at lower ranks. */
export interface Job {
  readonly module: Module;
  readonly outputs: readonly ModuleOutput[];
}

/** Decomposes modules one at a time; keeps the files open. */
export class ModuleResizer implements Disposable {
  readonly #files = new Map<string, SafetensorsFile>();

  /**
   * Writes a module at the ranks of its outputs.
   *
   * @returns The singular values of its update, largest first: `[rank]`
   * @throws {SyntaxError} If a factor has a value that is not finite, naming
   * its tensor.
   */
  resize({ module, outputs }: Job): Float64Array {
    const factors = { a: this.#joinedA(module), b: this.#joinedB(module) };
    const svd = productSvd(factors, module.rank);
    for (const { path, rank, dtype } of outputs) {
      const { a, b, alpha, scale } = tensorsAt(module, rank, dtype);
      const factors = svd.factors(rank, scale);
      const file = this.#open(path, true);
      file.write(a.name, factors.a);
      file.write(b.name, factors.b);
      if (alpha) file.write(alpha.name, Float32Array.of(alpha.value));
    }
    return svd.values;
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file[Symbol.dispose]();
  }

  /** The A of all parts, one below the other: `[rank, in]` */
  #joinedA({ parts, rank, inputs }: Module): Float64Array {
    const joined = new Float64Array(rank * inputs);
    let row = 0;
    for (const part of parts) {
      const a = this.#floats(part, "a");
      joined.set(part.mid ? this.#withMid(part, a) : a, row * inputs);
      row += part.rank;
    }
    return joined;
  }

  /** The B of all parts side by side, scaled: `[out, rank]` */
  #joinedB({ parts, rank, outputs }: Module): Float64Array {
    const joined = new Float64Array(outputs * rank);
    let column = 0;
    for (const part of parts) {
      const b = this.#floats(part, "b");
      for (let i = 0; i < outputs; i++) {
        for (let j = 0; j < part.rank; j++) {
          joined[i * rank + column + j] = part.scale * b[i * part.rank + j]!;
        }
      }
      column += part.rank;
    }
    return joined;
  }

  /**
   * The A of a plain convolution: `mid` `[rank, rank, height, width]` times A
   * `[rank, in]` over its second dimension, `[rank, in, height, width]`.
   */
  #withMid(part: Part, a: Float32Array): Float64Array {
    const { rank } = part;
    const mid = this.#floats(part, "mid");
    const inputs = a.length / rank;
    const area = mid.length / rank ** 2;
    const product = new Float64Array(rank * inputs * area);
    for (let i = 0; i < rank; i++) {
      for (let j = 0; j < rank; j++) {
        for (let c = 0; c < inputs; c++) {
          const value = a[j * inputs + c]!;
          for (let k = 0; k < area; k++) {
            product[(i * inputs + c) * area + k]! += value *
              mid[(i * rank + j) * area + k]!;
          }
        }
      }
    }
    return product;
  }

  #floats(part: Part, which: "a" | "b" | "mid"): Float32Array {
    const { name } = part[which]!;
    const values = this.#open(part.path).floats(name);
    // The sum of finite values may be infinite, and that of others cannot be
    // finite.
    if (Number.isFinite(values.reduce((a, b) => a + b, 0))) return values;
    const odd = values.find((value) => !Number.isFinite(value));
    throw new SyntaxError(
      `Tensor "${name}" of "${part.path}" holds ${odd}, expected finite values`,
    );
  }

  #open(path: string, write = false): SafetensorsFile {
    const open = () => SafetensorsFile.open(path, { write });
    return this.#files.getOrInsertComputed(path, open);
  }
}

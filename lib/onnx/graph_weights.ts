import { LORA_A, LORA_B } from "../engine/adapters/registry.ts";
import type { Model } from "../engine/models/model.ts";
import { transpose } from "../engine/vectors.ts";
import { peftNameOf } from "../peft/names.ts";
import { floats, type Graph } from "./graph.ts";

/**
 * How weights are stored and products computed: in float32; in float16; or in 8
 * bits, with float32 for everything but the products of frozen modules.
 */
export type Precision = "fp32" | "fp16" | "q8";

/** What stands behind the names of a forward pass. */
export interface WeightOptions {
  readonly model: Model;
  readonly precision: Precision;
  /** Modules whose factors of a LoRA are inputs of the graph. */
  readonly adapted: ReadonlySet<string>;
  /** Tensors of the head that are inputs of the graph, with their shapes. */
  readonly headInputs: ReadonlyMap<string, readonly (number | string)[]>;
  /** Shapes of the tensors that are part of the graph. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Reads such a tensor. */
  read(name: string, shape: readonly number[]): Float32Array;
}

/**
 * Name of the input with the scale of each row of a module's factors, `[rank]`.
 *
 * @param module By its name in PEFT
 */
export function scaleInput(module: string): string {
  return `${module}.lora_scale`;
}

/**
 * Largest integer of a weight in 8 bits. With 64 and 255 of an activation, the
 * sum of two products fits 16 bits, in which processors without VNNI add them.
 */
const LARGEST = 64;

/**
 * The weights of a graph. Those of PyTorch's linear modules, `[out, in]`, are
 * stored as `[in, out]`, as MatMul takes them.
 */
export class GraphWeights {
  /** Type of activations. */
  readonly float: "float32" | "float16";

  constructor(
    private readonly graph: Graph,
    private readonly options: WeightOptions,
  ) {
    this.float = options.precision === "fp16" ? "float16" : "float32";
  }

  /** Outputs of a linear module. */
  outputs(module: string): number {
    return this.options.shapes.get(`${module}.weight`)![0]!;
  }

  /** A bias, or a tensor of a normalization. */
  vector(name: string): string {
    const { headInputs } = this.options;
    return headInputs.has(name) ? this.#headInput(name) : this.#stored(name);
  }

  /** Rows of a table `[rows, width]`: those of ids, int64. */
  rows(name: string, ids: string): string {
    const { graph } = this;
    if (this.options.precision !== "q8") {
      return graph.op("Gather", this.#stored(name), ids);
    }
    const [integers, scales] = this.#quantized(name, "rows");
    return graph.op(
      "Mul",
      graph.cast(graph.op("Gather", integers, ids), "float32"),
      graph.op("Gather", scales, ids),
    );
  }

  /**
   * `x W^T + c`, and for an adapted module `+ ((x A^T) * s) B^T`.
   *
   * @param x `[.., in]`
   * @returns `[.., out]`
   */
  linear(module: string, x: string, bias: boolean): string {
    const { graph } = this;
    let y = this.#product(`${module}.weight`, x);
    if (bias) y = graph.op("Add", y, this.vector(`${module}.bias`));
    if (!this.options.adapted.has(module)) return y;
    const [outputs, inputs] = this.options.shapes.get(`${module}.weight`)!;
    const rank = `rank of ${module}`;
    const name = peftNameOf(module, this.options.model);
    const a = this.#input(`${name}.${LORA_A}`, [rank, inputs!]);
    const b = this.#input(`${name}.${LORA_B}`, [outputs!, rank]);
    const scale = this.#input(scaleInput(name), [rank]);
    const down = graph.op("MatMul", x, this.#transposed(a));
    const scaled = graph.op("Mul", down, scale);
    const up = graph.op("MatMul", scaled, this.#transposed(b));
    return graph.op("Add", y, up);
  }

  #product(name: string, x: string): string {
    const { graph } = this;
    if (this.options.headInputs.has(name)) {
      return graph.op("MatMul", x, this.#transposed(this.#headInput(name)));
    }
    if (this.options.precision !== "q8") {
      return graph.op("MatMul", x, this.#stored(name, true));
    }
    const [integers, scales] = this.#quantized(name, "columns");
    const [ofX, scale, zero] = graph.ops("DynamicQuantizeLinear", [x], {}, 3);
    const product = graph.op("MatMulInteger", ofX!, integers, zero!);
    return graph.op(
      "Mul",
      graph.cast(product, "float32"),
      graph.op("Mul", scale!, scales),
    );
  }

  #transposed(matrix: string): string {
    return this.graph.op("Transpose", matrix, { perm: [1, 0] });
  }

  #headInput(name: string): string {
    const shape = this.options.headInputs.get(name)!;
    return this.#input(peftNameOf(name, this.options.model), shape);
  }

  #input(name: string, shape: readonly (number | string)[]): string {
    const value = this.graph.input({ name, type: "float32", shape });
    return this.float === "float32" ? value : this.graph.cast(value, "float16");
  }

  #stored(name: string, isTransposed = false): string {
    const shape = this.options.shapes.get(name)!;
    return this.graph.tensor({
      name,
      type: this.float,
      shape: isTransposed ? shape.toReversed() : shape,
      read: () => {
        const values = this.options.read(name, shape);
        return floats(
          isTransposed ? transpose(values, shape) : values,
          this.float,
        );
      },
    });
  }

  /**
   * A matrix as integers of 8 bits, symmetric about 0, and the scale of each of
   * its rows; with "columns", as `[in, out]` with a scale for each output.
   */
  #quantized(
    name: string,
    scaled: "rows" | "columns",
  ): [integers: string, scales: string] {
    const shape = this.options.shapes.get(name) as readonly [number, number];
    const [rows, width] = shape;
    const read = () => {
      const values = this.options.read(name, shape);
      const scales = Float32Array.from({ length: rows }, (_, row) => {
        const rowValues = values.subarray(row * width, (row + 1) * width);
        return rowValues.reduce((a, b) => Math.max(a, Math.abs(b)), 0) /
          LARGEST;
      });
      return { values, scales };
    };
    const isTransposed = scaled === "columns";
    const integers = this.graph.tensor({
      name: `${name} in 8 bits`,
      type: "int8",
      shape: isTransposed ? [width, rows] : shape,
      read() {
        const { values, scales } = read();
        const rounded = Int8Array.from(values, (value, i) => {
          const scale = scales[Math.floor(i / width)]!;
          return scale === 0 ? 0 : Math.round(value / scale);
        });
        return isTransposed ? transpose(rounded, shape) : rounded;
      },
    });
    const scales = this.graph.tensor({
      name: `${name} scales`,
      type: "float32",
      shape: isTransposed ? [rows] : [rows, 1],
      read: () => read().scales,
    });
    return [integers, scales];
  }
}

import * as z from "zod";

// Fields that the `config.json` of most models have.

export const count = z.int().min(1).max(1 << 20);
export const rate = z.number().min(0).lt(1);
export const epsilon = z.number().positive().max(0.1);
export const padToken = z.int().min(0);
/** What the attention of a layer reaches. */
export const LayerType = z.enum(["full_attention", "sliding_attention"]);

/** The sizes that most models name alike. */
export const SIZES = {
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: z.int().min(1).max(1000),
  num_attention_heads: count,
  intermediate_size: count,
  max_position_embeddings: count,
};

/** What these sizes say of a model. */
export function sizesOf(config: z.output<z.ZodObject<typeof SIZES>>) {
  return {
    layers: config.num_hidden_layers,
    hidden: config.hidden_size,
    vocabSize: config.vocab_size,
    positions: config.max_position_embeddings,
  };
}

/**
 * Frequencies of rotary positions, `theta^(-2 i / depth)`, rounded as in
 * float32: `[depth / 2]`
 */
export function rotaryFrequencies(
  theta: number,
  depth: number,
): Float32Array<ArrayBuffer> {
  const { fround } = Math;
  return Float32Array.from(
    { length: depth / 2 },
    (_, i) => 1 / fround(theta ** fround(2 * i / depth)),
  );
}

/**
 * Position of a distance between two others on a logarithmic scale, from 0 to
 * 1. In float32 as PyTorch has it: distances at the edge of a bucket depend on
 * the rounding.
 */
export function logShare(distance: number, from: number, to: number): number {
  const { fround, log } = Math;
  return fround(
    fround(log(fround(distance / from))) / fround(log(fround(to / from))),
  );
}

/** Refines a configuration: a list of layers must have all of them. */
export function ofEveryLayer(
  { layer_types: types, num_hidden_layers: layers }: {
    readonly layer_types?: readonly string[] | null | undefined;
    readonly num_hidden_layers: number;
  },
  { addIssue }: Pick<z.core.$RefinementCtx, "addIssue">,
): void {
  if (types == null || types.length === layers) return;
  addIssue({
    code: "custom",
    path: ["layer_types"],
    message:
      `Expected num_hidden_layers (${layers}) entries, got ${types.length}`,
  });
}

/**
 * Refines a configuration: one of its sizes must be a multiple of some times
 * another.
 */
export function multipleOf<Size extends string, Factor extends string>(
  size: Size,
  factor: Factor,
  times = 1,
) {
  return (
    config: Readonly<Record<Size | Factor, number>>,
    { addIssue }: Pick<z.core.$RefinementCtx, "addIssue">,
  ): void => {
    const { [size]: value, [factor]: of } = config;
    if (value % (times * of) === 0) return;
    addIssue({
      code: "custom",
      path: [size],
      message: `Expected a multiple of ${
        times === 1 ? "" : `${times} x `
      }${factor} (${of}), got ${value}`,
    });
  };
}

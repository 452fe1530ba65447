import { assert, assertEquals } from "@std/assert";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import { type Model, positionsOf } from "../../lib/engine/models/model.ts";
import { parseModel } from "../../lib/engine/models/registry.ts";
import type { BatchTensors } from "../../lib/engine/models/tensor_pass.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";

/** A path in fixtures/. */
export function fixture(path: string): string {
  return fileURLToPath(new URL(`../../fixtures/${path}`, import.meta.url));
}

/** A tiny model of the fixtures and what transformers and PEFT compute with it (fixtures/references.py). */
export interface Reference {
  readonly model: Model;
  /** Its weights. */
  readonly file: SafetensorsFile;
  readonly figures: SafetensorsFile;
}

/** References that have the weights of another's folder, and what their configuration says instead. */
const variants: Readonly<
  Record<string, { readonly folder: string; readonly config: object }>
> = JSON.parse(Deno.readTextFileSync(fixture("references/variants.json")));

/** Names of the tiny encoders: their folders are `tiny-NAME`, and those of data have no `config.json`. */
export const tinyEncoders: readonly string[] = Array.from(
  Deno.readDirSync(fixture("")),
  ({ name }) => /^tiny-(.+)$/.exec(name)?.[1] ?? [],
).flat().filter((name) => existsSync(fixture(`tiny-${name}/config.json`)))
  .sort();

/** Names of all references: of every tiny encoder, and of its variants. */
export const referenceNames = [...tinyEncoders, ...Object.keys(variants)];

/** @param changes Other values of its configuration, with which the figures do not agree */
export function openReference(name: string, changes: object = {}): Reference {
  const { folder, config } = variants[name] ?? { folder: name, config: {} };
  const hub = JSON.parse(
    Deno.readTextFileSync(fixture(`tiny-${folder}/config.json`)),
  );
  return {
    model: parseModel(JSON.stringify({ ...hub, ...config, ...changes })),
    file: SafetensorsFile.open(fixture(`tiny-${folder}/model.safetensors`)),
    figures: SafetensorsFile.open(fixture(`references/${name}.safetensors`)),
  };
}

/** The reference's batch in memory. */
export function referenceBatch(
  { model, figures }: Reference,
  name: "padded" | "unpadded",
) {
  const [batch, seq] = figures.tensors.get(`${name}.ids`)!.shape as [
    number,
    number,
  ];
  const ids = figures.ints(`${name}.ids`);
  return {
    shape: [batch, seq] as [number, number],
    ids,
    positions: positionsOf(model, ids, seq),
    types: figures.ints(`${name}.types`),
    mask: name === "padded"
      ? Float32Array.from(figures.ints("padded.mask"))
      : undefined,
  };
}

/** The reference's batch as tensors. */
export function referenceInput(
  reference: Reference,
  name: "padded" | "unpadded",
): BatchTensors {
  const { shape, ids, positions, types, mask } = referenceBatch(
    reference,
    name,
  );
  return {
    ids: tf.tensor2d(ids, shape, "int32"),
    positions: tf.tensor2d(positions, shape, "int32"),
    types: tf.tensor2d(types, shape, "int32"),
    mask: mask && tf.tensor2d(mask, shape),
  };
}

/** Values of a tensor; asynchronous, since WebGPU reads no other way. */
export async function read(
  tensor: tf.Tensor,
): Promise<Float32Array<ArrayBuffer>> {
  return (await tensor.data()).slice() as Float32Array<ArrayBuffer>;
}

/** Asserts that values agree: no difference above `tolerance`. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  assertEquals(actual.length, expected.length, `${what}: number of values`);
  let worst = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!(difference <= worst)) worst = difference;
  }
  assert(
    worst <= tolerance,
    `${what}: differs by ${worst}, allowed is ${tolerance}`,
  );
}

/** Asserts that values are equal, floats bit for bit: assertEquals() takes 0 for -0. */
export function assertSameBits<T>(actual: T, expected: T): void {
  assertEquals(withBits(actual), withBits(expected));
}

/** A copy of a value whose float arrays are arrays of their bits. */
function withBits(value: unknown): unknown {
  if (value instanceof Float32Array) {
    return new Uint32Array(value.buffer, value.byteOffset, value.length);
  }
  if (Array.isArray(value)) return value.map(withBits);
  if (value instanceof Map) {
    return new Map([...value].map(([key, of]) => [key, withBits(of)] as const));
  }
  if (
    typeof value === "object" && value !== null && !ArrayBuffer.isView(value)
  ) {
    return Object.fromEntries(
      Object.entries(value).map(([key, of]) => [key, withBits(of)]),
    );
  }
  return value;
}

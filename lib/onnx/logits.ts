import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";
import { type EncodedExamples, unitsOf } from "../data/example.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";

/** Examples computed together. */
const BATCH = 32;

/** A model of ONNX that is to be run. */
export interface OnnxModel {
  /** Its file. */
  readonly path: string;
  readonly padId: number;
  /** Its inputs besides those of a batch. */
  readonly inputs: Readonly<Record<string, TensorValues>>;
}

/**
 * Logits of examples by onnxruntime on WebAssembly, on one thread.
 *
 * @param runtime The file of onnxruntime's WebAssembly
 * @param onBatch Called with the number of examples that are done
 * @returns `[examples, outputs]`, of words `[words, outputs]`
 */
export async function onnxLogits(
  { path, padId, inputs }: OnnxModel,
  { ids, types, offsets, words }: EncodedExamples,
  outputs: number,
  runtime: string,
  onBatch: (done: number) => void,
): Promise<Float32Array> {
  env.wasm.wasmBinary = (await Deno.readFile(runtime)).buffer;
  env.wasm.numThreads = 1;
  const session = await InferenceSession.create(await Deno.readFile(path));
  const factors = Object.fromEntries(
    Object.entries(inputs).map(([name, { values, shape }]) => [
      name,
      new Tensor("float32", values as Float32Array, shape),
    ]),
  );
  const lengthOf = (example: number) =>
    offsets[example + 1]! - offsets[example]!;
  // Examples of about one length need little padding.
  const order = Array.from({ length: offsets.length - 1 }, (_, i) => i)
    .sort((a, b) => lengthOf(a) - lengthOf(b));
  const logits = new Float32Array(
    (words?.tokens.length ?? order.length) * outputs,
  );
  for (let start = 0; start < order.length; start += BATCH) {
    const batch = order.slice(start, start + BATCH);
    const length = lengthOf(batch.at(-1)!);
    const padded = (valueOf: (token: number) => number, pad: number) => {
      const values = new BigInt64Array(batch.length * length).fill(BigInt(pad));
      for (const [row, example] of batch.entries()) {
        for (let i = 0; i < lengthOf(example); i++) {
          const value = valueOf(offsets[example]! + i);
          values[row * length + i] = BigInt(value);
        }
      }
      return new Tensor("int64", values, [batch.length, length]);
    };
    const inputs: Record<string, Tensor> = {
      ...factors,
      input_ids: padded((token) => ids[token]!, padId),
      attention_mask: padded(() => 1, 0),
      ...(session.inputNames.includes("token_type_ids") && {
        token_type_ids: padded((token) => types[token]!, 0),
      }),
    };
    const result = await session.run(inputs);
    const [output] = session.outputNames;
    const values = await result[output!]!.getData() as Float32Array;
    const width = values.length / batch.length;
    for (const [row, example] of batch.entries()) {
      for (const { unit, token } of unitsOf({ words }, example)) {
        const from = row * width + token * outputs;
        logits.set(values.subarray(from, from + outputs), unit * outputs);
      }
    }
    onBatch(start + batch.length);
  }
  await session.release();
  return logits;
}

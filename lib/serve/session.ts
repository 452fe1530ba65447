// A model of ONNX with an adapter, at any of its ranks: what the modules of
// classes and of embeddings have in common.
import * as web from "onnxruntime-web";
import type { Frame } from "../text/frame.ts";
import { type Adapter, inputsAt, readAdapter } from "./adapter.ts";
import { openFolder } from "./folder.ts";
import { TextEncoding } from "./text_encoding.ts";

/**
 * What is used of onnxruntime: onnxruntime-web by default; onnxruntime-node has
 * the same interface.
 */
export type Runtime = Pick<typeof web, "InferenceSession" | "Tensor">;

/** Options of a call. */
export interface CallOptions {
  /** Rank of the adapter. */
  readonly rank?: number;
  /** Maximum number of texts that are computed together, 32 by default. */
  readonly batchSize?: number;
}

/** Options of loading. */
export interface LoadOptions {
  /** Rank of calls that name none; by default, that of the export. */
  readonly rank?: number;
  /**
   * Folder of another adapter of the model; by default, the adapter beside it.
   */
  readonly adapter?: string | URL;
  /** onnxruntime, if it is not onnxruntime-web. */
  readonly runtime?: Runtime;
  /**
   * Execution providers of onnxruntime, by preference: `["webgpu", "wasm"]`; by
   * default, the runtime's choice.
   */
  readonly executionProviders?: readonly string[];
}

/** `model.json` of an exported folder. */
interface ModelFile extends Frame {
  /** SHA-256 of the model's weights, by which an adapter names it. */
  readonly weights: string;
  /** Tokens of the longest sequence. */
  readonly maxLength: number;
  readonly padId: number;
  /** Whether weights are in a file beside the model. */
  readonly hasData: boolean;
}

/** A model that is loaded. */
export interface LoadedModel {
  readonly file: ModelFile;
  /** URL of its folder. */
  readonly url: string;
  readonly runtime: Runtime;
  readonly session: web.InferenceSession;
  readonly encoding: TextEncoding;
}

/** An adapter of a loaded model. */
export interface LoadedAdapter extends Adapter {
  /** Ranks that it serves, ascending. */
  readonly ranks: readonly number[];
}

/** Token ids and types of a sequence. */
export interface Sequence {
  readonly ids: number[];
  readonly types: number[];
}

/**
 * Loads the model of an exported folder.
 *
 * @param folder Its path or URL; in browsers, URLs are relative to the page
 * @throws {Error} If a file is missing, or this machine cannot run the model.
 */
export async function loadModel(
  folder: string | URL,
  { runtime = web, executionProviders }: LoadOptions,
): Promise<LoadedModel> {
  const opened = openFolder(folder);
  const file = await opened.json<ModelFile>("model.json");
  const encoding = new TextEncoding(
    await opened.json("tokenizer.json"),
    await opened.json("tokenizer_config.json"),
    file,
  );
  const data = "model.onnx_data";
  const session = await runtime.InferenceSession.create(
    await opened.bytes("model.onnx"),
    {
      ...(executionProviders && { executionProviders }),
      ...(file.hasData && {
        externalData: [{ path: data, data: await opened.bytes(data) }],
      }),
    },
  );
  return { file, url: opened.url, runtime, session, encoding };
}

/**
 * Loads an adapter for a model.
 *
 * @throws {Error} If a file is missing or of another model.
 */
export async function loadAdapter(
  model: LoadedModel,
  folder: string | URL,
): Promise<LoadedAdapter> {
  const adapter = await readAdapter(
    openFolder(folder),
    model.session.inputMetadata,
    { weights: model.file.weights, url: model.url },
  );
  return { ...adapter, ranks: Object.keys(adapter.file.scales).map(Number) };
}

/** @throws {RangeError} If the adapter does not serve the rank. */
export function checkedRank(
  { ranks }: Pick<LoadedAdapter, "ranks">,
  rank: number,
): number {
  if (ranks.includes(rank)) return rank;
  const first = ranks[0]!;
  const last = ranks.at(-1)!;
  const areAll = ranks.length > 1 && ranks.length > last - first;
  const served = areAll ? `${first} to ${last}` : ranks.join(", ");
  throw new RangeError(
    `Rank ${rank} is not one that the adapter serves: ${served}`,
  );
}

/**
 * What the model gives for sequences, in their order.
 *
 * @param batchSize Maximum number of sequences that are computed together
 * @returns Of each sequence its row, with `width` values for each of its tokens
 * or for it as a whole
 */
export async function outputsOf(
  { runtime: { Tensor }, session, file }: LoadedModel,
  adapter: Adapter,
  sequences: readonly Sequence[],
  rank: number,
  batchSize = 32,
): Promise<{ readonly rows: Float32Array[]; readonly width: number }> {
  const factors = Object.fromEntries(
    Object.entries(inputsAt(adapter, rank)).map(([name, { values, shape }]) => [
      name,
      new Tensor("float32", values, shape),
    ]),
  );
  const rows: Float32Array[] = [];
  let width = 0;
  // Sequences of one length need no padding.
  const order = sequences.map((_, i) => i)
    .sort((a, b) => sequences[a]!.ids.length - sequences[b]!.ids.length);
  for (let start = 0; start < order.length; start += batchSize) {
    const numbers = order.slice(start, start + batchSize);
    const batch = numbers.map((i) => sequences[i]!);
    const length = batch.at(-1)!.ids.length;
    const shape = [batch.length, length];
    const padded = (
      valuesOf: (sequence: Sequence) => number[],
      pad: number,
    ) =>
      new Tensor(
        "int64",
        BigInt64Array.from(
          batch.flatMap((sequence) => {
            const values = valuesOf(sequence);
            const rest = Array<number>(length - values.length).fill(pad);
            return [...values, ...rest];
          }),
          BigInt,
        ),
        shape,
      );
    const inputs: Record<string, web.Tensor> = {
      ...factors,
      input_ids: padded(({ ids }) => ids, file.padId),
      attention_mask: padded(({ ids }) => ids.map(() => 1), 0),
      ...(session.inputNames.includes("token_type_ids") && {
        token_type_ids: padded(({ types }) => types, 0),
      }),
    };
    const [name] = session.outputNames;
    const result = await session.run(inputs);
    const output = result[name!] as web.Tensor;
    const values = await output.getData() as Float32Array;
    const size = values.length / batch.length;
    width = output.dims.at(-1)!;
    for (const [row, i] of numbers.entries()) {
      rows[i] = values.slice(row * size, (row + 1) * size);
    }
  }
  return { rows, width };
}

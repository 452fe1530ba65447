import type { WordForm } from "../problems/entities.ts";
import type { Folder } from "./folder.ts";

/** A tensor of floats, row-major. */
interface Floats {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** `adapter.json` of an exported folder. */
export interface AdapterFile {
  /** SHA-256 of the weights of the model that it is for. */
  readonly weights: string;
  readonly task: string;
  readonly problem:
    | "classification"
    | "multi-label"
    | "regression"
    | "tokens"
    | "similarity"
    | "retrieval"
    | "groups";
  /** Class names in the order of their ids; null for a regression. */
  readonly labels: readonly string[] | null;
  /**
   * Of several labels for a text, the probability from which one is predicted;
   * 0.5 by default.
   */
  readonly threshold?: number;
  /** Of embeddings alone: whether they are divided by their norm. */
  readonly normalizes?: boolean;
  /** Of tokens, the form of the words that its training had. */
  readonly words?: WordForm;
  /** Tokens to which the texts of its training were truncated. */
  readonly maxLength: number;
  /** Rank to use by default. */
  readonly rank: number;
  /** Its scale at each rank that it serves. */
  readonly scales: Readonly<Record<string, number>>;
}

/** An adapter that fits a model. */
export interface Adapter {
  readonly file: AdapterFile;
  /** By the names of the model's inputs, at its greatest rank. */
  readonly tensors: ReadonlyMap<string, Floats>;
  /** Tensors of the head by rank, where ranks have their own. */
  readonly heads: ReadonlyMap<number, Readonly<Record<string, Floats>>>;
}

/**
 * An input of a model as onnxruntime describes it; sizes that are not fixed are
 * names.
 */
interface ModelInput {
  readonly name: string;
  readonly isTensor: boolean;
  readonly shape?: readonly (number | string)[];
}

/** Name of a tensor of the head that one rank alone has. */
const OF_RANK = /^(\d+)\.(.+)$/;

const FACTOR = /\.lora_(?:[AB]\.weight|scale)$/;

/**
 * Reads an adapter for a model. Modules that it does not adapt get factors of
 * zeros.
 *
 * @throws {Error} If it is of another model, or a tensor is missing or has
 * another shape.
 */
export async function readAdapter(
  folder: Folder,
  inputs: readonly ModelInput[],
  model: { readonly weights: string; readonly url: string },
): Promise<Adapter> {
  const file = await folder.json<AdapterFile>("adapter.json");
  if (file.problem === undefined) {
    throw new Error(
      `"adapter.json" in "${folder.url}" names no problem: export it again`,
    );
  }
  if (file.weights !== model.weights) {
    throw new Error(
      `The adapter in "${folder.url}" was trained on another model than that in "${model.url}": export it with its own`,
    );
  }
  const stored = await readTensors(folder, "adapter.safetensors");
  const tensors = new Map<string, Floats>();
  const heads = new Map<number, Record<string, Floats>>();
  for (const [name, tensor] of stored) {
    const [, rank, headName] = OF_RANK.exec(name) ?? [];
    if (headName === undefined) continue;
    stored.delete(name);
    const head = heads.get(Number(rank)) ?? {};
    heads.set(Number(rank), { ...head, [headName]: tensor });
  }
  for (const { name, shape = [] } of inputs) {
    if (BATCH.includes(name) || name.endsWith(".lora_scale")) continue;
    const storedTensor = stored.get(name);
    stored.delete(name);
    if (storedTensor === undefined && !FACTOR.test(name)) {
      throw new Error(`The adapter in "${folder.url}" has no "${name}"`);
    }
    // The size without a number is the rank, or the number of labels.
    const tensor = storedTensor ??
      zeros(shape.map((it) => Number(it) || 1));
    const fits = tensor.shape.length === shape.length &&
      shape.every((it, i) => typeof it !== "number" || it === tensor.shape[i]);
    if (!fits) {
      throw new Error(
        `The adapter in "${folder.url}" has "${name}" of shape [${tensor.shape}], and the model in "${model.url}" takes [${shape}]`,
      );
    }
    tensors.set(name, tensor);
  }
  const [extra] = stored.keys();
  if (extra === undefined) return { file, tensors, heads };
  throw new Error(
    `The adapter in "${folder.url}" has "${extra}", for which the model in "${model.url}" has no input: export the model with "targetModules" that include the module`,
  );
}

const BATCH = ["input_ids", "attention_mask", "token_type_ids"];

/**
 * The inputs of the model for an adapter at a rank: the first rows of each A
 * and columns of each B, the scale of each row, and the head.
 */
export function inputsAt(
  { file, tensors, heads }: Adapter,
  rank: number,
): Record<string, Floats> {
  const scale = file.scales[rank]!;
  const inputs: Record<string, Floats> = {};
  for (const [name, tensor] of tensors) {
    const { shape: [rows = 0, columns = 0], values } = tensor;
    if (name.endsWith(".lora_A.weight")) {
      const kept = Math.min(rank, rows);
      inputs[name] = {
        shape: [kept, columns],
        values: values.subarray(0, kept * columns),
      };
      inputs[name.replace(/A\.weight$/, "scale")] = {
        shape: [kept],
        values: new Float32Array(kept).fill(scale),
      };
    } else if (name.endsWith(".lora_B.weight")) {
      const kept = Math.min(rank, columns);
      inputs[name] = {
        shape: [rows, kept],
        values: values.filter((_, i) => i % columns < kept),
      };
    } else inputs[name] = tensor;
  }
  return { ...inputs, ...heads.get(rank) };
}

function zeros(shape: readonly number[]): Floats {
  const size = shape.reduce((product, it) => product * it, 1);
  return { shape, values: new Float32Array(size) };
}

/** The tensors of a safetensors file of float32. */
async function readTensors(
  folder: Folder,
  name: string,
): Promise<Map<string, Floats>> {
  const { buffer } = await folder.bytes(name);
  try {
    const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
    const { __metadata__: _, ...header } = JSON.parse(
      new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)),
    ) as Record<string, { shape: number[]; data_offsets: [number, number] }>;
    return new Map(
      Object.entries(header).map(
        ([name, { shape, data_offsets: [from, to] }]) => {
          const bytes = buffer.slice(start + from, start + to);
          return [name, { shape, values: new Float32Array(bytes) }];
        },
      ),
    );
  } catch (error) {
    throw new SyntaxError(
      `"${folder.url}${name}" is damaged: export it again`,
      { cause: error },
    );
  }
}

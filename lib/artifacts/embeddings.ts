import { join } from "@std/path/posix/join";
import * as z from "zod";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { count, jsonFile } from "./json_file.ts";
import { UsedPrecision } from "./training.ts";

/** Files of an artifact of kind `embeddings`. */
export const EMBEDDINGS_FILES = [
  "embeddings.json",
  "embeddings.safetensors",
] as const;

/** `embeddings.json`: the embeddings of texts at one rank. */
const EmbeddingsInfo = z.strictObject({
  task: z.string().min(1),
  method: z.string().min(1),
  rank: count,
  /** Whether a report recommends the rank. */
  recommended: z.boolean(),
  precision: UsedPrecision,
  /** Whether embeddings are divided by their norm. */
  normalizes: z.boolean(),
  texts: count,
  /** Values of an embedding. */
  width: count,
});

type EmbeddingsInfo = z.output<typeof EmbeddingsInfo>;

/** Embeddings of texts, in their order. */
export interface Embeddings extends EmbeddingsInfo {
  /** `[texts, width]`, flat. */
  readonly values: Float32Array;
}

const infoFile = jsonFile("embeddings.json", EmbeddingsInfo);

/** Writes an artifact of kind `embeddings`. */
export async function writeEmbeddings(
  folder: string,
  { values, ...info }: Embeddings,
): Promise<void> {
  const shape = [info.texts, info.width];
  const path = join(folder, "embeddings.safetensors");
  writeSafetensors(path, { embeddings: { shape, values } });
  await infoFile.write(folder, info);
}

/** Reads an artifact of kind `embeddings`. */
export async function readEmbeddings(folder: string): Promise<Embeddings> {
  const info = await infoFile.read(folder);
  using file = SafetensorsFile.open(join(folder, "embeddings.safetensors"));
  return { ...info, values: file.floats("embeddings") };
}

import { join } from "@std/path/posix/join";
import * as z from "zod";
import { parseJson } from "../data/text_file.ts";
import { digest as sha256 } from "../files/digest.ts";
import { statIfThere } from "../files/files.ts";

/** Reads and writes a JSON file of a name in the folder of an artifact. */
export function jsonFile<T extends z.ZodType>(name: string, schema: T) {
  /** @throws {SyntaxError} Naming the file and the invalid field. */
  const read = (folder: string): Promise<z.output<T>> =>
    readJsonFile(join(folder, name), schema);
  return {
    read,
    /** The same; undefined if there is no file. */
    find: async (folder: string): Promise<z.output<T> | undefined> =>
      exists(join(folder, name)) ? await read(folder) : undefined,
    /** @throws {TypeError} Naming the file and the invalid field. */
    write: (folder: string, value: z.output<T>): Promise<void> =>
      writeJsonFile(join(folder, name), value, schema),
  };
}

/**
 * Reads a JSON file and validates it.
 *
 * @throws {SyntaxError} Naming the file and the invalid field.
 */
export async function readJsonFile<T extends z.ZodType>(
  path: string,
  schema: T,
): Promise<z.output<T>> {
  return parseJson(await Deno.readTextFile(path), path, schema);
}

/**
 * Writes a JSON file, indented by two spaces, with a trailing newline.
 *
 * @param schema Validates the value after conversion to JSON, where NaN is
 * null, and orders the fields
 * @throws {TypeError} Naming the file and the invalid field.
 */
export async function writeJsonFile(
  path: string,
  value: unknown,
  schema?: z.ZodType,
): Promise<void> {
  const { error, data = value } =
    schema?.safeParse(JSON.parse(JSON.stringify(value))) ?? {};
  if (error) {
    throw new TypeError(`Cannot write "${path}":\n${z.prettifyError(error)}`);
  }
  await Deno.writeTextFile(path, JSON.stringify(data, null, 2) + "\n");
}

/**
 * Reads a JSON object whose numbers keep their spelling when it is written:
 * transformers refuses 2 where it expects 2.0.
 */
export async function readAsWritten(
  path: string,
): Promise<Record<string, unknown>> {
  return JSON.parse(await Deno.readTextFile(path), asWritten);
}

/** Reviver that keeps the spelling of numbers. */
export function asWritten(
  _key: string,
  value: unknown,
  context?: { readonly source?: string },
): unknown {
  return typeof value === "number" ? JSON.rawJSON(context!.source!) : value;
}

/** Positive integer. */
export const count = z.int().positive();

/** A SHA-256 in hexadecimal. */
export const digest = z.string().regex(/^[0-9a-f]{64}$/);

/** SHA-256 of a file in hexadecimal. */
export async function digestOf(path: string): Promise<string> {
  return await sha256(await Deno.readFile(path));
}

/** True if a file or folder exists. */
export function exists(path: string): boolean {
  return statIfThere(path) !== undefined;
}

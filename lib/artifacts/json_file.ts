import { z } from "zod";

/**
 * Reads a JSON file and checks it.
 *
 * @throws {SyntaxError} Naming the file, and the field that is wrong.
 */
export async function readJsonFile<T extends z.ZodType>(
  path: string,
  schema: T,
): Promise<z.output<T>> {
  const text = await Deno.readTextFile(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(
      `"${path}" is not JSON: ${(error as SyntaxError).message}`,
      { cause: error },
    );
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new SyntaxError(
    `"${path}" is not what it should be:\n${z.prettifyError(result.error)}`,
  );
}

/** Writes a JSON file indented by two, with a line end at its end. */
export async function writeJsonFile(
  path: string,
  value: unknown,
): Promise<void> {
  await Deno.writeTextFile(path, JSON.stringify(value, null, 2) + "\n");
}

/** SHA-256 of a file, in hexadecimal digits. */
export async function digestOf(path: string): Promise<string> {
  const { createHash } = await import("node:crypto");
  return createHash("sha256").update(await Deno.readFile(path)).digest("hex");
}

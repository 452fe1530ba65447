import { PipelineError, SourceText } from "./fault.ts";

/** Most bytes of a pipeline file. */
const LARGEST = 262_144;

/**
 * Reads a pipeline file, which may be anything.
 *
 * @throws {PipelineError} If it is no text file of a sane size.
 */
export async function readText(file: string): Promise<string> {
  const refuse = (message: string) =>
    new PipelineError(new SourceText(file, ""), [{ message }]);
  const info = await stat(file);
  if (info === undefined) throw refuse("There is no such file");
  if (!info.isFile) throw refuse("Is no regular file");
  if (info.size > LARGEST) {
    throw refuse(
      `Has ${info.size} bytes; a pipeline file has ${LARGEST} at most`,
    );
  }
  const bytes = await Deno.readFile(file);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw refuse("Is not encoded in UTF-8");
  }
}

async function stat(file: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

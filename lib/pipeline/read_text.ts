import { open } from "node:fs/promises";
import { PipelineError, SourceText } from "./fault.ts";

/** Most bytes of a pipeline file. */
const LARGEST = 262_144;

/** Reads a pipeline file, which may be anything. */
export async function readText(file: string): Promise<string> {
  const refuse = (message: string): never => {
    throw new PipelineError(new SourceText(file, ""), [{ message }]);
  };
  let handle;
  try {
    handle = await open(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return refuse(`Cannot be opened: ${reason}`);
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) return refuse("Is no regular file");
    if (stat.size > LARGEST) {
      return refuse(
        `Has ${stat.size} bytes; a pipeline file has ${LARGEST} at most`,
      );
    }
    const bytes = await handle.readFile();
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return refuse("Is not encoded in UTF-8");
  } finally {
    await handle.close();
  }
}

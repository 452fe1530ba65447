import { EIO, osError } from "../../store/files.ts";
import type { Renderer } from "../messages.ts";
import { jsonLines } from "./json.ts";

/**
 * The renderer for whoever is there: lines of JSON on request, a live table
 * in a terminal, plain lines elsewhere and under CI.
 */
export async function chooseRenderer(json: boolean): Promise<Renderer> {
  const { stdout } = Deno;
  const write = stdout.isTerminal() ? terminalWriter() : writeOut;
  if (json) return jsonLines(write);
  const { styleFor } = await import("./style.ts");
  const style = styleFor(stdout);
  const live = stdout.isTerminal() && !Deno.env.get("CI") &&
    Deno.env.get("TERM") !== "dumb";
  if (!live) {
    const { plainLines } = await import("./lines.ts");
    return plainLines(write, style);
  }
  const { liveTable } = await import("./live.ts");
  return liveTable({ write, size: consoleSize }, style);
}

/** Writes to standard output, all of it. */
export function writeOut(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) {
    done += Deno.stdout.writeSync(bytes.subarray(done));
  }
}

/** Writes to the terminal until it is gone: then nobody reads, and SIGHUP says the rest. */
function terminalWriter(): (text: string) => void {
  let gone = false;
  return (text) => {
    if (gone) return;
    try {
      writeOut(text);
    } catch (error) {
      if (osError(error) !== EIO) throw error;
      gone = true;
    }
  };
}

function consoleSize() {
  try {
    return Deno.consoleSize();
  } catch {
    return undefined; // A terminal that does not say.
  }
}

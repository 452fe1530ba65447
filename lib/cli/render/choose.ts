import type { Renderer } from "../messages.ts";
import { jsonLines } from "./json.ts";

/**
 * The renderer for whoever is there: lines of JSON on request, a live table
 * in a terminal, plain lines elsewhere and under CI.
 */
export async function chooseRenderer(json: boolean): Promise<Renderer> {
  const { stdout } = Deno;
  if (json) return jsonLines(writeOut);
  const { styleFor } = await import("./style.ts");
  const style = styleFor(stdout);
  const live = stdout.isTerminal() && !Deno.env.get("CI") &&
    Deno.env.get("TERM") !== "dumb";
  if (!live) {
    const { plainLines } = await import("./lines.ts");
    return plainLines(writeOut, style);
  }
  const { liveTable } = await import("./live.ts");
  return liveTable({ write: writeOut, size: consoleSize }, style);
}

/** Writes to standard output, all of it. */
export function writeOut(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) {
    done += Deno.stdout.writeSync(bytes.subarray(done));
  }
}

function consoleSize() {
  try {
    return Deno.consoleSize();
  } catch {
    return undefined; // A terminal that does not say.
  }
}

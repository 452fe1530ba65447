import { digest } from "./digest.ts";
import { writeDurably } from "./durable.ts";

/** What a text is sealed with; hexadecimal digits. */
export type Checksum = (text: string) => string;

/** Writes a value as JSON together with its checksum, so that damage is noticed. */
export function writeSealed(
  path: string,
  value: object,
  checksum: Checksum = digest,
): void {
  writeDurably(path, seal(value, checksum));
}

/** The text of a sealed file. */
export function seal(value: object, checksum: Checksum = digest): string {
  const json = JSON.stringify(value);
  const members = json === "{}" ? "" : `,${json.slice(1, -1)}`;
  return `{"seal":"${checksum(json)}"${members}}\n`;
}

/** The JSON that a sealed text was made of, cut out rather than written again. */
function unsealed(text: string, seal: string): string {
  const start = `{"seal":"${seal}"`;
  const rest = text.slice(start.length, -1);
  if (!text.startsWith(start) || !text.endsWith("\n")) return "";
  return `{${rest.startsWith(",") ? rest.slice(1) : rest}`;
}

/** What a sealed file holds: its value, or why there is none. */
export type Sealed =
  | { readonly state: "whole"; readonly value: Record<string, unknown> }
  | { readonly state: "missing" }
  | { readonly state: "damaged" };

/** Reads what `writeSealed()` wrote with the same checksum. */
export function readSealed(
  path: string,
  checksum: Checksum = digest,
): Sealed {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { state: "missing" };
    throw error;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return { state: "damaged" };
    throw error;
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return { state: "damaged" };
  }
  const { seal, ...value } = parsed as Record<string, unknown>;
  return seal === checksum(unsealed(text, String(seal)))
    ? { state: "whole", value }
    : { state: "damaged" };
}

import { digest } from "./digest.ts";
import { writeDurably } from "./durable.ts";

/** Writes a value as JSON together with its digest, so that damage is noticed. */
export function writeSealed(path: string, value: object): void {
  writeDurably(path, seal(value));
}

/** The text of a sealed file. */
export function seal(value: object): string {
  return JSON.stringify({ seal: digest(JSON.stringify(value)), ...value }) +
    "\n";
}

/** What a sealed file holds: its value, or why there is none. */
export type Sealed =
  | { readonly state: "whole"; readonly value: Record<string, unknown> }
  | { readonly state: "missing" }
  | { readonly state: "damaged" };

/** Reads what `writeSealed()` wrote. */
export function readSealed(path: string): Sealed {
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
  return seal === digest(JSON.stringify(value))
    ? { state: "whole", value }
    : { state: "damaged" };
}

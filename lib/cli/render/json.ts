import type { Renderer } from "../messages.ts";

/** Shows each message as one line of JSON. */
export function jsonLines(write: (text: string) => void): Renderer {
  return {
    show: (message) => write(`${JSON.stringify(message)}\n`),
    end: () => {},
  };
}

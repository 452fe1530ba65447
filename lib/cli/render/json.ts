import type { Message, Renderer } from "../messages.ts";

/** Shows each message as one line of JSON. */
export function jsonLines(write: (text: string) => void): Renderer {
  return {
    show: (message) => write(`${JSON.stringify(ordered(message))}\n`),
    end: () => {},
  };
}

/** A summary with the fields first that every version has. */
function ordered(message: Message): Message {
  if (message.type !== "summary") return message;
  const { type, ran, restored, unchanged, failed, seconds, ...more } = message;
  return { type, ran, restored, unchanged, failed, seconds, ...more };
}

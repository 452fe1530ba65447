import type { Message, Renderer } from "../messages.ts";

/**
 * Shows each message as one line of JSON. Those of one turn of the event loop
 * are written at once: a run with nothing to do says all it has to in a few.
 */
export function jsonLines(write: (text: string) => void): Renderer {
  let lines = "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    const text = lines;
    lines = "";
    if (text !== "") write(text);
  };
  return {
    show(message) {
      lines += `${JSON.stringify(ordered(message))}\n`;
      timer ??= setTimeout(flush, 0);
    },
    end: flush,
  };
}

/** A summary with the fields first that every version has. */
function ordered(message: Message): Message {
  if (message.type !== "summary") return message;
  const { type, ran, restored, unchanged, failed, seconds, ...more } = message;
  return { type, ran, restored, unchanged, failed, seconds, ...more };
}

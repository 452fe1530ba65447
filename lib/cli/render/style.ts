/** Colours text, or leaves it as it is. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  cyan(text: string): string;
}

/** The style for a stream: colours in a terminal, unless `NO_COLOR` is set (https://no-color.org). */
export function styleFor(stream: { isTerminal(): boolean }): Style {
  const colors = stream.isTerminal() && !Deno.env.get("NO_COLOR") &&
    Deno.env.get("TERM") !== "dumb";
  const code = (on: number, off: number) => (text: string) =>
    colors ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  return {
    bold: code(1, 22),
    dim: code(2, 22),
    red: code(31, 39),
    green: code(32, 39),
    yellow: code(33, 39),
    cyan: code(36, 39),
  };
}

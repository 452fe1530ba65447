/**
 * Formats text with an ANSI escape code in a terminal, unless `NO_COLOR` is set
 * (https://no-color.org).
 */
function code(on: number, off: number): (text: string) => string {
  return (text) =>
    Deno.stdout.isTerminal() && !Deno.env.get("NO_COLOR") &&
      Deno.env.get("TERM") !== "dumb"
      ? `\x1b[${on}m${text}\x1b[${off}m`
      : text;
}

/** Styles of text on standard output. */
export const style = {
  bold: code(1, 22),
  dim: code(2, 22),
  red: code(31, 39),
  green: code(32, 39),
  yellow: code(33, 39),
  cyan: code(36, 39),
};

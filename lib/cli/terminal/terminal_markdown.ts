import { printable } from "../../pipeline/faults.ts";
import { WIDTH, wrap } from "../arguments/arguments.ts";
import { style } from "./style.ts";

/**
 * A Markdown text for a terminal: paragraphs are wrapped, the columns of tables
 * are aligned, and figures are named.
 */
export function terminalMarkdown(markdown: string): string {
  return printable(markdown).trim().split(/\n{2,}/)
    .map(blockText).join("\n\n");
}

function blockText(block: string): string {
  if (block.startsWith("|")) return tableText(block.split("\n"));
  const [, title, file] = /^!\[(.*)\]\((.*)\)$/.exec(block) ?? [];
  if (title !== undefined) {
    return wrap(`figure: ${plain(title)}, ${file}`, WIDTH)
      .map((line) => style.dim(line)).join("\n");
  }
  const [, heading] = /^#+ +(.*)$/.exec(block) ?? [];
  if (heading !== undefined) return style.bold(plain(heading));
  // Lists and code keep their lines.
  const lines = /^( {4}|```|[-*] |\d+\. )/.test(block)
    ? [block]
    : wrap(block.replaceAll("\n", " "), WIDTH);
  const bold = lines.join("\n")
    .replaceAll(/\*\*(.+?)\*\*/gs, (_, text) => style.bold(text));
  return plain(bold);
}

/**
 * A table whose first column is aligned left, as those of texts are (`:---`),
 * and the others right, as numbers are.
 */
function tableText(lines: readonly string[]): string {
  const [head = [], rules = [], ...rows] = lines
    .map((line) =>
      line.replace(/^\| ?| ?\|\s*$/g, "").split(/(?<!\\)\|/)
        .map((cell) => plain(cell.trim()).replaceAll("**", ""))
    );
  // An interval stays on one line.
  const columns = head.map((_, i) =>
    [head, ...rows].map((row) =>
      (row[i] ?? "").replace(/\[.*\]/, (it) => it.replaceAll(" ", "\u00a0"))
    )
  );
  const isRight = (column: number) => column > 0 && rules[column] === "---";
  return tableLines(columns, isRight, WIDTH)
    .join("\n").replaceAll("\u00a0", " ");
}

/**
 * The lines of a table, given its columns with their titles. If it is too wide,
 * the widest columns but the first wrap at words; if that is not enough, each
 * row becomes lines of its own, one for each column.
 *
 * @param isRight Whether a column is aligned right.
 */
export function tableLines(
  columns: readonly (readonly string[])[],
  isRight: (column: number) => boolean,
  width: number,
): string[] {
  const longest = (texts: readonly { length: number }[]) =>
    Math.max(...texts.map((it) => it.length));
  const widths = columns.map(longest);
  const least = columns.map((cells, i) =>
    i === 0 ? widths[0]! : longest(cells.flatMap((it) => it.split(" ")))
  );
  const sumOf = (some: readonly number[]) =>
    some.reduce((sum, it) => sum + it + 2, -2);
  if (sumOf(least) > width) {
    const names = columns.map(([title]) => title!.trim());
    return columns[0]!.slice(1).flatMap((_, row) => [
      ...row === 0 ? [] : [""],
      ...columns.map((of, i) =>
        `${style.bold(names[i]!.padEnd(longest(names)))}  ${of[row + 1]}`
      ),
    ]);
  }
  while (sumOf(widths) > width) {
    const widest = Math.max(...widths.filter((it, i) => it > least[i]!));
    widths[widths.findIndex((it, i) => it === widest && it > least[i]!)]! -= 1;
  }
  return columns[0]!.flatMap((_, row) => {
    const cells = columns.map((of, i) => wrap(of[row]!, widths[i]!));
    return Array.from({ length: longest(cells) }, (_, line) => {
      const text = cells.map((lines, i) => {
        const part = lines[line] ?? "";
        return isRight(i) ? part.padStart(widths[i]!) : part.padEnd(widths[i]!);
      }).join("  ").trimEnd();
      return row === 0 ? style.bold(text) : text;
    });
  });
}

/** Text without the backslashes that keep Markdown from reading it. */
function plain(text: string): string {
  return text.replaceAll(/\\([\\`*_{}[\]<>()#+.!|~-])/g, "$1");
}

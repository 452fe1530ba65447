import { WIDTH, wrap } from "../arguments/arguments.ts";

interface Style {
  bold(text: string): string;
  dim(text: string): string;
}

/**
 * A Markdown text for a terminal: paragraphs are wrapped, the columns of tables
 * are aligned, and figures are named.
 */
export function terminalMarkdown(markdown: string, style: Style): string {
  return markdown.trim().split(/\n{2,}/)
    .map((block) => blockText(block, style)).join("\n\n");
}

function blockText(block: string, style: Style): string {
  if (block.startsWith("|")) return tableText(block.split("\n"), style);
  const [, title, file] = /^!\[(.*)\]\((.*)\)$/.exec(block) ?? [];
  if (title !== undefined) return style.dim(`figure: ${plain(title)}, ${file}`);
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

/** A table whose first column is aligned left, and the others right, as numbers are. */
function tableText(lines: readonly string[], style: Style): string {
  const [head = [], ...rows] = lines
    .filter((line) => !/^[|\s:-]+$/.test(line))
    .map((line) =>
      line.replace(/^\| ?| ?\|\s*$/g, "").split(/(?<!\\)\|/)
        .map((cell) => plain(cell.trim()).replaceAll("**", ""))
    );
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => (row[column] ?? "").length))
  );
  const text = (row: readonly string[]) =>
    widths.map((width, column) => {
      const cell = row[column] ?? "";
      return column === 0 ? cell.padEnd(width) : cell.padStart(width);
    }).join("  ").trimEnd();
  return [style.bold(text(head)), ...rows.map(text)].join("\n");
}

/** Text without the backslashes that keep Markdown from reading it. */
function plain(text: string): string {
  return text.replaceAll(/\\([\\`*_{}[\]<>()#+.!|~-])/g, "$1");
}

import { Marked } from "marked";

/**
 * Renders a report's Markdown as one self-contained HTML page with inline figures.
 *
 * @param figures SVG by the file name that the Markdown's images refer to.
 * @throws {TypeError} If an image is not among the figures.
 */
export function renderPage(
  markdown: string,
  figures: ReadonlyMap<string, string>,
): string {
  const marked = new Marked({
    // Names that look like addresses are not links.
    tokenizer: { url: () => undefined },
    renderer: {
      html: ({ text }) => escapeHtml(text),
      image({ href, text }) {
        const svg = figures.get(href);
        if (svg === undefined) {
          throw new TypeError(`The report has no figure "${href}"`);
        }
        return `<figure role="img" aria-label="${
          escapeHtml(text)
        }">${svg}</figure>`;
      },
    },
  });
  const body = marked.parse(markdown, { async: false });
  return `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Report</title>
<style>${STYLE}</style>
${body}</html>
`;
}

const STYLE = `
body { font: 16px/1.5 sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.75rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; }
figure svg { max-width: 100%; height: auto; }
code { background: #f3f3f3; padding: 0 0.25rem; }
`;

function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
  };
  return text.replace(/[&<>"]/g, (letter) => entities[letter]!);
}

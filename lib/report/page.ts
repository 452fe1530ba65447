import { stripTypeScriptTypes } from "node:module";
import { Marked } from "marked";
import type { Figure } from "./figure.ts";
import { escapeHtml } from "./format.ts";
import { faultsText, verdictText } from "./markdown.ts";
import style from "./page.css" with { type: "text" };
import { pageData } from "./page_data.ts";
import script from "./page_script.ts" with { type: "text" };
import type { Report } from "./report.ts";
import { NO_RUN, scriptJson } from "./run_facts.ts";

/** Content of a page. */
interface PageParts {
  readonly report: Report;
  /** The report as Markdown, which refers to the figures as images. */
  readonly markdown: string;
  readonly figures: readonly Figure[];
  /** Vega's runtime as a classic script that defines `vega`. */
  readonly runtime: string;
}

/**
 * Renders a report as one HTML page that needs no other file and no network:
 * its policy forbids both. Figures are in it as SVG, and Vega's runtime draws
 * them again to fit the window and to respond to the pointer.
 *
 * @throws {TypeError} If an image is not among the figures.
 */
export function renderPage(
  { report, markdown, figures, runtime }: PageParts,
): string {
  const title = pageTitle(report);
  const { body, sections } = bodyOf(markdown, figures);
  const links = sections.map(({ id, text }) => `<a href="#${id}">${text}</a>`);
  return `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${title}</title>
<style>
${style}</style>
<header>
<h1>${title}</h1>
${verdictsHtml(report)}<nav aria-label="Sections">${links.join("\n")}</nav>
</header>
<main>
${body}</main>
<script type="application/json" id="report">${
    scriptJson(pageData(report, figures))
  }</script>
${NO_RUN}
<script>${runtime.replaceAll("</script", "<\\/script")}</script>
<script type="module">
${stripTypeScriptTypes(script)}</script>
</html>
`;
}

/** Allows scripts and styles of the page itself only. Vega compiles expressions. */
const POLICY =
  "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:";

function pageTitle({ comparisons }: Report): string {
  const titles = [...new Set(comparisons.map(({ title }) => title))];
  const text = titles.length > 4 ? `${titles.length} tasks` : titles.join(", ");
  return text === "" ? "Report" : `Report on ${escapeHtml(text)}`;
}

/** The verdict on each comparison, and the faults of the data. */
function verdictsHtml(report: Report): string {
  const { comparisons } = report;
  const texts = comparisons.map((it) => ({
    isSure: it.verdict?.kind === "recommended",
    text: verdictText(it, comparisons),
  }));
  const faults = faultsText(report).join("\n\n");
  if (faults !== "") texts.push({ isSure: false, text: faults });
  return texts.map(({ isSure, text }) =>
    `<section class="verdict${isSure ? "" : " doubt"}">${
      PLAIN.parse(text)
    }</section>
`
  ).join("");
}

/** Options of Markdown: names that look like addresses or HTML are neither. */
const TEXT = {
  tokenizer: { url: () => undefined },
  renderer: { html: ({ text }: { readonly text: string }) => escapeHtml(text) },
};

const PLAIN = new Marked(TEXT);

/** The body of the page in sections, one for each heading of the second level, whose texts are HTML. */
function bodyOf(markdown: string, figures: readonly Figure[]) {
  const sections: { readonly id: string; readonly text: string }[] = [];
  let isFolded = false;
  const endOfSection = () => {
    const end = isFolded ? "</details>\n</section>\n" : "</section>\n";
    isFolded = false;
    return sections.length > 0 ? end : "";
  };
  const byName = new Map(figures.map((figure) => [figure.name, figure]));
  const marked = new Marked(TEXT, {
    renderer: {
      heading({ depth, tokens }) {
        const text = this.parser.parseInline(tokens);
        // It is the title of the page.
        if (depth === 1) return "";
        if (depth > 2) return `<h${depth}>${text}</h${depth}>\n`;
        const end = endOfSection();
        const id = `section-${sections.length + 1}`;
        sections.push({ id, text });
        return `${end}<section id="${id}">\n<h2>${text}</h2>\n`;
      },
      // HTML has no figures inside of paragraphs.
      paragraph({ tokens }) {
        const text = this.parser.parseInline(tokens);
        const isImage = tokens.length === 1 && tokens[0]!.type === "image";
        return isImage ? `${text}\n` : `<p>${text}</p>\n`;
      },
      image({ href, text }) {
        const figure = byName.get(href);
        if (figure === undefined) {
          throw new TypeError(`The report has no figure "${href}"`);
        }
        const html = figureHtml(figure, text);
        if (isFolded) return html;
        isFolded = true;
        return `${html}${MORE}`;
      },
    },
  });
  const tokens = marked.lexer(markdown);
  // The verdicts, before the first section, are in the header.
  const start = tokens.findIndex((token) =>
    token.type === "heading" && token.depth === 2
  );
  const body = marked.parser(start < 0 ? tokens : tokens.slice(start))
    .replaceAll("<table>", `${TABLE}<table>`)
    .replaceAll("</table>", "</table></div></div>");
  return {
    body: `${body}${endOfSection()}`,
    sections,
  };
}

/** What follows the first figure of a section, which the script of the page folds on a phone. */
const MORE =
  '\n<details class="more" open><summary>Tables, costs and settings</summary>\n';

/** Where a table scrolls to the side if it is too wide. */
const TABLE =
  '<div class="table"><div class="scroll" tabindex="0" role="group" aria-label="Table">';

function figureHtml({ name, svg }: Figure, title: string): string {
  return `<div class="curve"><figure data-figure="${name}" aria-label="${
    escapeHtml(title)
  }">
<figcaption>${escapeHtml(title)}</figcaption>
<div class="chart">${svg}</div>
</figure></div>`;
}

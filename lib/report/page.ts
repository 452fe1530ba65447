import { stripTypeScriptTypes } from "node:module";
import { Marked, type Token } from "marked";
import { type Figure, pageData } from "./figure.ts";
import { figureName } from "./figure_names.ts";
import { escapeHtml, folded, tableHtml } from "./format.ts";
import { faultsText, verdictText } from "./markdown.ts";
import style from "./page.css" with { type: "text" };
import script from "./page_script.ts" with { type: "text" };
import { rankPanel } from "./rank_panel.ts";
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
  const titles = [
    ...new Set(report.comparisons.map(({ title }) => escapeHtml(title))),
  ];
  const of = titles.length > 4 ? `${titles.length} tasks` : titles.join(", ");
  const title = of === "" ? "Report" : `Report on ${of}`;
  const sections = sectionsOf(markdown, figures, report);
  const links = sections.map(({ link }) => link).join("\n");
  const data = scriptJson(pageData(figures));
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
${verdictsHtml(report)}<nav aria-label="Sections">${links}</nav>
</header>
<main>
${sections.map(({ html }) => html).join("")}</main>
<script type="application/json" id="report">${data}</script>
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

/** The sections of the page, one for each heading of the second level, and the links to them. The verdicts, before the first, are in the header. */
function sectionsOf(
  markdown: string,
  figures: readonly Figure[],
  { averages, comparisons }: Report,
) {
  const panels = new Map(
    [...averages, ...comparisons].map((it) => [figureName(it), rankPanel(it)]),
  );
  const marked = new Marked(TEXT, {
    renderer: {
      // HTML has no figures inside of paragraphs.
      paragraph({ tokens }) {
        const text = this.parser.parseInline(tokens);
        return isImage(tokens) ? `${text}\n` : `<p>${text}</p>\n`;
      },
      image({ href, text }) {
        const figure = figures.find(({ name }) => name === href);
        if (figure === undefined) {
          throw new TypeError(`The report has no figure "${href}"`);
        }
        const title = escapeHtml(text);
        const panel = panels.get(href) ?? "";
        return `<div class="curve"><figure data-figure="${href}" aria-label="${title}">
<figcaption>${title}</figcaption>
<div class="chart">${figure.svg}</div>
</figure>${panel}</div>`;
      },
    },
  });
  const html = (tokens: Token[]) =>
    marked.parser(tokens)
      .replaceAll(/<table>[^]*?<\/table>/g, (it) => tableHtml("Table", it));
  const sections: Token[][] = [];
  for (const token of marked.lexer(markdown)) {
    if (token.type === "heading" && token.depth === 2) sections.push([token]);
    else sections.at(-1)?.push(token);
  }
  return sections.map(([heading, ...tokens], i) => {
    const id = `section-${i + 1}`;
    const title = html([heading!]);
    const first = tokens.findIndex((it) =>
      "tokens" in it && isImage(it.tokens)
    ) + 1;
    const [shown, more] = [tokens.slice(0, first), tokens.slice(first)]
      .map(html) as [string, string];
    const rest = first === 0
      ? more
      : folded("Tables, costs and settings", more);
    return {
      link: `<a href="#${id}">${title.replaceAll(/<\/?h2>|\n/g, "")}</a>`,
      html: `<section id="${id}">\n${title}${shown}${rest}</section>\n`,
    };
  });
}

function isImage(tokens: Token[] = []): boolean {
  return tokens.length === 1 && tokens[0]!.type === "image";
}

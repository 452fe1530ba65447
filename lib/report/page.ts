import { stripTypeScriptTypes } from "node:module";
import { Marked, type Token } from "marked";
import type { Figure, PageData } from "./figure.ts";
import { figureName } from "./figure_names.ts";
import { escapeHtml, tableHtml } from "./format.ts";
import { faultsText, verdictParts } from "./markdown.ts";
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
  /** Classic scripts that define `vega` and then `vegaEmbed`. */
  readonly runtimes: readonly string[];
}

/**
 * Renders a report as one HTML page that needs no other file and no network:
 * its policy forbids both. Figures are in it as SVG, and vega-embed draws them
 * again to fit the window and to respond to the pointer. The answer, the curve
 * by rank and the mistakes are shown; all else is folded, with links to it.
 *
 * @throws {TypeError} If an image is not among the figures.
 */
export function renderPage(
  { report, markdown, figures, runtimes }: PageParts,
): string {
  const titles = [
    ...new Set(report.comparisons.map(({ title }) => escapeHtml(title))),
  ];
  const of = titles.length > 4 ? `${titles.length} tasks` : titles.join(", ");
  const title = of === "" ? "Report" : `Report on ${of}`;
  const sections = sectionsOf(markdown, figures, report);
  const links = sections.flatMap(({ links }) => links).join("\n");
  const specifications = figures.map(({ name, spec }) => [name, spec] as const);
  const data: PageData = { figures: Object.fromEntries(specifications) };
  const scripts = runtimes.map((it) =>
    `<script>${it.replaceAll("</script", "<\\/script")}</script>`
  );
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
<script type="application/json" id="report">${scriptJson(data)}</script>
${NO_RUN}
${scripts.join("\n")}
<script type="module">
${stripTypeScriptTypes(script)}</script>
</html>
`;
}

/** Allows scripts and styles of the page itself only. */
const POLICY =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/** The verdict on each comparison, and the faults of the data. */
function verdictsHtml(report: Report): string {
  const { comparisons } = report;
  const verdicts = comparisons.map((comparison) => {
    const { headline, statistics } = verdictParts(comparison, comparisons);
    const isSure = comparison.verdict?.kind === "recommended";
    const more = comparisons.length > 1
      ? `<details><summary>Statistics</summary>${
        PLAIN.parse(statistics)
      }</details>`
      : `<div class="statistics">${PLAIN.parse(statistics)}</div>`;
    return verdictHtml(`${PLAIN.parse(headline)}${more}`, isSure);
  });
  const faults = faultsText(report).join("\n\n");
  if (faults !== "") {
    verdicts.push(verdictHtml(`${PLAIN.parse(faults)}`, false));
  }
  return verdicts.join("");
}

function verdictHtml(html: string, isSure: boolean): string {
  return `<section class="verdict${
    isSure ? "" : " doubt"
  }">${html}</section>\n`;
}

/** Options of Markdown: names that look like addresses or HTML are neither. */
const TEXT = {
  tokenizer: { url: () => undefined },
  renderer: { html: ({ text }: { readonly text: string }) => escapeHtml(text) },
};

const PLAIN = new Marked(TEXT);

/** A section of the page, and links to it and to what is folded in it. */
interface Section {
  readonly html: string;
  readonly links: readonly string[];
}

/**
 * A part of a section: what is under a heading of the third level, or before
 * the first.
 */
interface Part {
  /** Undefined before the first heading. */
  readonly heading: Token | undefined;
  readonly tokens: Token[];
}

/**
 * The sections of the page, one for each heading of the second level. The
 * verdicts, before the first, are in the header.
 */
function sectionsOf(
  markdown: string,
  figures: readonly Figure[],
  { averages, comparisons }: Report,
): Section[] {
  const marked = rendererWith(figures);
  const panels = new Map(
    [...averages, ...comparisons].map((it) => [figureName(it), rankPanel(it)]),
  );
  return splitAt(marked.lexer(markdown), 2).slice(1)
    .map((part, i) => sectionOf(part, i, marked, panels));
}

/** Renders Markdown, its images as figures. */
function rendererWith(figures: readonly Figure[]): Marked {
  return new Marked(TEXT, {
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
        return `<figure data-figure="${href}" aria-label="${title}">
<figcaption>${title}</figcaption>
<div class="chart">${figure.svg}</div>
</figure>`;
      },
    },
  });
}

/**
 * A section: its curve and mistakes, then what is folded, which is all of it
 * but in the first section.
 *
 * @param panels The panel of a rank, by the name of the figure
 */
function sectionOf(
  section: Part,
  index: number,
  marked: Marked,
  panels: ReadonlyMap<string, string>,
): Section {
  const html = (tokens: Token[]) =>
    marked.parser(tokens)
      .replaceAll(/<table>[^]*?<\/table>/g, (it) => tableHtml("Table", it));
  const textOf = (heading: Token) =>
    html([heading]).replaceAll(/<\/?h[23]>|\n/g, "");
  const id = `section-${index + 1}`;
  const title = textOf(section.heading!);
  const [first, ...others] = splitAt(section.tokens, 3);
  const isMistakes = ({ heading }: Part) => /^Mistakes/.test(textOf(heading!));
  const shown = others.filter(isMistakes);
  const folded = others.filter((part) => !isMistakes(part)).map((part) => ({
    title: textOf(part.heading!),
    html: html(part.tokens),
  }));
  // Before the first heading: the curve, and of a mean its tables.
  const end = first!.tokens.findIndex((it) => imageNames(it).length > 0) + 1;
  const opening = first!.tokens.slice(0, end);
  const tables = first!.tokens.slice(end);
  if (tables.some(({ type }) => type !== "space")) {
    folded.unshift({ title: "Scores and differences", html: html(tables) });
  }
  const [name] = opening.flatMap((it) => imageNames(it));
  const panel = panels.get(name ?? "") ?? "";
  if (panel !== "") {
    folded.unshift({ title: "One rank: scores, size, export", html: panel });
  }
  const details = folded.map((part, k) =>
    `<details id="${id}-${
      k + 1
    }"><summary>${part.title}</summary>\n${part.html}</details>\n`
  );
  const mistakes = shown.map(({ heading, tokens }) =>
    `<div>${html([heading!, ...tokens])}</div>`
  );
  const body = `<div class="first"><div>${html(opening)}</div>${
    mistakes.join("")
  }</div>\n${details.join("")}`;
  const sectionLink = `<a href="#${id}">${title}</a>`;
  if (index > 0) {
    return {
      links: [sectionLink],
      html:
        `<section id="${id}">\n<details><summary><h2>${title}</h2></summary>\n${body}</details></section>\n`,
    };
  }
  const links = folded.map((part, k) =>
    `<a href="#${id}-${k + 1}">${part.title}</a>`
  );
  return {
    links: [sectionLink, ...links],
    html: `<section id="${id}">\n<h2>${title}</h2>\n${body}</section>\n`,
  };
}

/**
 * Tokens by the headings of a level; the first part is before the first
 * heading.
 */
function splitAt(tokens: readonly Token[], depth: number): Part[] {
  const parts: Part[] = [{ heading: undefined, tokens: [] }];
  for (const token of tokens) {
    if (token.type === "heading" && token.depth === depth) {
      parts.push({ heading: token, tokens: [] });
    } else parts.at(-1)!.tokens.push(token);
  }
  return parts;
}

/** Names of the figures in a paragraph. */
function imageNames(token: Token): string[] {
  const inner = "tokens" in token ? token.tokens ?? [] : [];
  return inner.flatMap((it) => it.type === "image" ? [it.href] : []);
}

function isImage(tokens: Token[] = []): boolean {
  return tokens.length === 1 && tokens[0]!.type === "image";
}

// Runs in the page of a report, without its types.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import type { default as vegaEmbed } from "vega-embed";
import type { PageData } from "./figure.ts";
import type { RunFacts } from "./run_facts.ts";

/** The global of vega-embed's script. */
const embed: typeof vegaEmbed = Reflect.get(globalThis, "vegaEmbed");

const { figures }: PageData = dataOf("report");
/** Facts of the run, which the command line adds; null without them. */
const run: RunFacts | null = dataOf("run");

function dataOf(id: string) {
  return JSON.parse(document.getElementById(id)!.textContent!);
}

function find(selector: string, within: Element = document.documentElement) {
  return within.querySelector<HTMLElement>(selector)!;
}

/** Makes an element; children are elements or texts. */
function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Readonly<Record<string, string | number>> = {},
  ...children: (Node | string)[]
) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, String(value));
  }
  element.append(...children);
  return element;
}

function button(text: string, onclick: () => void, attributes = {}) {
  const made = make("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", onclick);
  return made;
}

/** Downloads a URL as a file. */
function save(name: string, url: string) {
  make("a", { href: url, download: name }).click();
}

// Figures

/** Draws a figure again, to fit its container and to respond to the pointer. */
async function draw(figure: HTMLElement, name: string) {
  const { background: _, ...spec } = figures[name]!;
  const chart = find(".chart", figure);
  const { view } = await embed(chart, spec, {
    mode: "vega",
    renderer: "svg",
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: name.replace(/\.svg$/, ""),
    // Expressions are interpreted, not compiled: the page forbids eval.
    ast: true,
  });
  // A legend of several rows takes its place above once the width is known.
  await view.resize().runAsync();
}

// Ranks

/** Makes a panel show the rank whose button is pressed. */
function openPanel(panel: HTMLElement) {
  const buttons = [...panel.querySelectorAll<HTMLElement>(".choices button")];
  const details = [
    ...panel.querySelectorAll<HTMLElement>("[aria-live] > div"),
  ];
  const pick = (chosen: number) => {
    for (const [i, it] of buttons.entries()) {
      it.ariaPressed = String(i === chosen);
      details[i]!.hidden = i !== chosen;
    }
  };
  for (const [i, it] of buttons.entries()) {
    it.addEventListener("click", () => pick(i));
  }
  panel.querySelectorAll<HTMLElement>(".command").forEach(addCommand);
  panel.hidden = false;
  pick(buttons.findIndex((it) => it.hasAttribute("data-picked")));
}

/** An argument as a shell reads it. */
function quoted(text: string) {
  return /^[\w@%+=:,./-]+$/.test(text)
    ? text
    : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * Adds the command that exports an adapter, if the page knows its run, with a
 * button that copies it.
 */
function addCommand(container: HTMLElement) {
  if (run === null) return;
  const words = [...JSON.parse(container.dataset.words!), ...run.options];
  const text = [run.exporting, ...words.map(quoted)].join(" ");
  const code = make("code", { tabindex: "0" }, text);
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      // The browser forbids it: leave the text selected for the user to copy.
      getSelection()!.selectAllChildren(code);
      copy.textContent = "Selected";
    }
    setTimeout(() => copy.textContent = "Copy", 2000);
  }, { "aria-label": `Copy: ${text}` });
  container.append(code, copy);
}

// Tables

/** Adds a button that saves a table as CSV (RFC 4180). */
function addCsvButton(container: Element, number: number) {
  const rows = [...container.querySelectorAll("tr")].map((row) =>
    [...row.cells].map(({ textContent }) => csvCell(textContent)).join()
  );
  const text = rows.map((row) => `${row}\r\n`).join("");
  const csv = button("CSV", () => {
    const blob = new Blob([text], { type: "text/csv" });
    save(`table-${number + 1}.csv`, URL.createObjectURL(blob));
  }, { "aria-label": `Save table ${number + 1} as CSV` });
  container.append(make("div", { class: "tools" }, csv));
}

/**
 * As `csvLine()` of the command line writes it: what would be a formula of a
 * spreadsheet gets an apostrophe.
 */
function csvCell(value: string) {
  const isFormula = /^(?:[=@\t\r]|[+-](?![\d.,+\-\s[\]%e]*$))/i
    .test(value);
  const text = isFormula ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// Folded parts

/** Opens all that an element is folded in. */
function unfold(element: Element | null) {
  for (let it = element; it !== null; it = it.parentElement) {
    if (it instanceof HTMLDetailsElement) it.open = true;
  }
}

/** Opens what an address within the page points at. */
function unfoldTarget() {
  if (location.hash.length < 2) return;
  const target = document.getElementById(location.hash.slice(1));
  unfold(target?.firstElementChild ?? target);
  target?.scrollIntoView();
  if (target !== null) tell({ top: target.getBoundingClientRect().top });
}
addEventListener("hashchange", unfoldTarget);

// A page around this one, such as that of `dash`

/** What a page says to one that shows it in a frame. */
export type ReportMessage =
  /** Height of the page in pixels. */
  | { readonly height: number }
  /** Position of what was linked to in this page, in pixels from its top. */
  | { readonly top: number };

function tell(message: ReportMessage) {
  if (parent !== self) parent.postMessage(message, "*");
}

new ResizeObserver(([entry]) => {
  const { height } = entry!.target.getBoundingClientRect();
  tell({ height: Math.ceil(height) });
}).observe(document.documentElement);

// Everything is printed.
addEventListener("beforeprint", () => {
  for (const it of document.querySelectorAll("details")) it.open = true;
});

// A function instead of a top-level await, with which the process of a stage
// would run this file: it loads all scripts of its task, to run them when
// needed.
async function start() {
  if (run !== null) {
    document.title = `${run.pipeline}: ${document.title}`;
    find("h1").insertAdjacentHTML("afterend", run.header);
    find("main").insertAdjacentHTML("beforeend", run.section);
    find("nav").append(make("a", { href: "#this-run" }, "The run"));
  }
  document.querySelectorAll(".table").forEach(addCsvButton);
  document.querySelectorAll<HTMLElement>(".ranks").forEach(openPanel);
  // A figure that was folded gets the width of its container.
  for (const it of document.querySelectorAll("details")) {
    it.addEventListener("toggle", () => dispatchEvent(new Event("resize")));
  }
  const drawn = document.querySelectorAll<HTMLElement>("figure[data-figure]");
  for (const figure of drawn) {
    await draw(figure, figure.dataset.figure!);
  }
  unfoldTarget();
  document.documentElement.dataset.ready = "";
}

start();

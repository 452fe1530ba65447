// Runs in the page of a report, without its types.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import type { Spec, View } from "vega";
import type { pageData } from "./figure.ts";
import type { RunFacts } from "./run_facts.ts";

/** Vega's runtime; its types lack the point of an event in a drawing. */
const vega: typeof import("vega") & {
  point(event: MouseEvent, drawing: Element): [x: number, y: number];
} = Reflect.get(globalThis, "vega");

const { figures, picked, shown }: ReturnType<typeof pageData> = dataOf(
  "report",
);
/** From the command line; null without it. */
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

/** Saves what is at an address. */
function save(name: string, url: string) {
  make("a", { href: url, download: name }).click();
}

const phone = matchMedia("(max-width: 40rem)");

/** Shows the answer and a figure first on a phone, all of it elsewhere. */
function fold() {
  const folded = document.querySelectorAll<HTMLDetailsElement>("details.more");
  for (const it of folded) it.open = !phone.matches;
}
phone.addEventListener("change", fold);

// Figures

/** Draws a figure again with Vega, to fit its place and to respond to the pointer. */
async function draw(figure: HTMLElement, name: string) {
  const { background: _, ...spec } = figures[name]!;
  const place = find(".chart", figure);
  const view = new vega.View(vega.parse(spec), {
    renderer: "svg",
    container: place,
    hover: true,
  });
  const fit = async () => {
    await view.width(Math.min(place.clientWidth, 672)).runAsync();
    // The legend has as many rows as fit the width, and takes place above.
    await view.resize().runAsync();
  };
  await fit();
  // What is saved: the figure on white, at its full width.
  const paper = new vega.View(vega.parse(figures[name]!), { renderer: "none" });
  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth === width || place.clientWidth === 0) return;
    width = place.clientWidth;
    fit();
  }).observe(place);
  figure.append(
    make(
      "div",
      { class: "tools" },
      ...methodButtons(view, spec),
      // With two pixels of an image per pixel of the figure.
      ...([["svg", 1], ["png", 2]] as const).map(([type, scale]) => {
        const text = type.toUpperCase();
        return button(text, async () => {
          save(name.replace(/svg$/, type), await paper.toImageURL(type, scale));
        }, { "aria-label": `Save as ${text}: ${name}` });
      }),
    ),
  );
  return view;
}

/** Buttons that pick methods, if the figure has several; without a pick, it shows all. */
function methodButtons(view: View, { signals }: Spec) {
  const titles: string[] = view.scale("color").domain();
  const canPick = signals?.some(({ name }) => name === shown);
  if (!canPick || titles.length < 2) return [];
  const buttons = titles.map((title, i) =>
    button(title, () => {
      const own = buttons[i]!;
      own.ariaPressed = String(own.ariaPressed !== "true");
      const pressed = buttons.filter((it) => it.ariaPressed === "true");
      view.signal(shown, pressed.map(({ textContent }) => textContent))
        .runAsync();
    }, { "aria-pressed": "false" })
  );
  return [
    make(
      "div",
      { class: "methods", role: "group", "aria-label": "Show only" },
      make("span", { class: "quiet" }, "Show only"),
      ...buttons,
    ),
  ];
}

// Ranks

/** Makes a panel show the rank that is picked in it, or by a click in its curve. */
function openPanel(figure: HTMLElement, view: View, panel: HTMLElement) {
  const all = <E extends Element>(selector: string) => [
    ...panel.querySelectorAll<E & HTMLElement>(selector),
  ];
  const [buttons, details] = [all("button"), all("[aria-live] > div")];
  const ranks = buttons.map(({ textContent }) => Number(textContent));
  const pick = (rank: number) => {
    view.signal(picked, rank).runAsync();
    for (const [i, it] of ranks.entries()) {
      buttons[i]!.ariaPressed = String(it === rank);
      details[i]!.hidden = it !== rank;
    }
  };
  for (const [i, it] of buttons.entries()) {
    it.addEventListener("click", () => pick(ranks[i]!));
  }
  view.addEventListener("click", (event, item) => {
    // The legend has clicks of its own.
    if (/legend/.test(item?.mark?.role ?? "")) return;
    const [x] = vega.point(event as MouseEvent, find(".chart svg", figure));
    const at = view.scale("x").invert(x - view.origin()[0]);
    pick(
      ranks.reduce((best, rank) =>
        Math.abs(rank - at) < Math.abs(best - at) ? rank : best
      ),
    );
  });
  all(".command").forEach(addCommand);
  panel.hidden = false;
  pick(view.signal(picked) || ranks.at(-1));
}

/** An argument as a shell reads it. */
function quoted(text: string) {
  return /^[\w@%+=:,./-]+$/.test(text)
    ? text
    : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Adds the command that exports an adapter, if the page knows its run, with a button that copies it. */
function addCommand(place: HTMLElement) {
  if (run === null) return;
  const words = [...JSON.parse(place.dataset.words!), ...run.options];
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
  place.append(code, copy);
}

// Tables

/** Adds a button that saves a table as CSV (RFC 4180). */
function addCsvButton(place: Element, number: number) {
  const rows = [...place.querySelectorAll("tr")].map((row) =>
    [...row.cells].map(({ textContent }) => csvCell(textContent)).join()
  );
  const text = rows.map((row) => `${row}\r\n`).join("");
  const csv = button("CSV", () => {
    const blob = new Blob([text], { type: "text/csv" });
    save(`table-${number + 1}.csv`, URL.createObjectURL(blob));
  }, { "aria-label": `Save table ${number + 1} as CSV` });
  place.append(make("div", { class: "tools" }, csv));
}

/** As `csvLine()` of the command line writes it: what would be a formula of a spreadsheet gets an apostrophe. */
function csvCell(value: string) {
  const isFormula = /^(?:[=@\t\r]|[+-](?![\d.,+\-\s[\]%e]*$))/i
    .test(value);
  const text = isFormula ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// Everything is printed.
addEventListener("beforeprint", () => {
  for (const it of document.querySelectorAll("details")) it.open = true;
});

// A function instead of a top-level await, with which the process of a stage
// would run this file: it loads all scripts of its task, to run them when needed.
async function start() {
  if (run !== null) {
    document.title = `${run.pipeline}: ${document.title}`;
    find("h1").insertAdjacentHTML("afterend", run.header);
    find("main").insertAdjacentHTML("beforeend", run.section);
    find("nav").append(make("a", { href: "#this-run" }, "The run"));
  }
  fold();
  document.querySelectorAll(".table").forEach(addCsvButton);
  const drawn = document.querySelectorAll<HTMLElement>("figure[data-figure]");
  for (const figure of drawn) {
    const { figure: name = "" } = figure.dataset;
    const view = await draw(figure, name);
    const panel = figure.parentElement!.querySelector<HTMLElement>(".ranks");
    if (panel !== null) openPanel(figure, view, panel);
  }
  document.documentElement.dataset.ready = "";
}

start();

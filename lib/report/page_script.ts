// Runs in the page of a report, without its types.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import type { Spec, View } from "vega";
import type { PageData, Panel } from "./page_data.ts";
import type { RunFacts } from "./run_facts.ts";

/** Vega's runtime; its types lack the point of an event in a drawing. */
const vega: typeof import("vega") & {
  point(event: MouseEvent, drawing: Element): [x: number, y: number];
} = Reflect.get(globalThis, "vega");

const { figures, panels, picked, shown }: PageData = dataOf("report");
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

function div(name: string, ...children: (Node | string)[]) {
  return make("div", { class: name }, ...children);
}

function quiet(text: string) {
  return make("p", { class: "quiet" }, text);
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

// A phone shows the answer and a figure first.
if (matchMedia("(max-width: 40rem)").matches) {
  for (const it of document.querySelectorAll("details.more")) {
    it.removeAttribute("open");
  }
}

// Figures

const tooltip = make("dl", { id: "tooltip", hidden: "" });

/** Vega's handler of tooltips: shows the fields of what is under the pointer. */
function showTooltip(
  _handler: unknown,
  event: MouseEvent,
  _item: unknown,
  value: unknown,
) {
  tooltip.hidden = value === null || value === undefined || value === "";
  if (tooltip.hidden) return;
  const fields = Object.entries(value instanceof Object ? value : { "": value })
    .filter(([, text]) => String(text) !== "null")
    .flatMap(([key, text]) => [
      make("dt", {}, key),
      make("dd", {}, String(text)),
    ]);
  tooltip.replaceChildren(...fields);
  const { clientX: x, clientY: y } = event;
  const { offsetWidth: width, offsetHeight: height } = tooltip;
  tooltip.style.left = `${
    Math.max(4, Math.min(x + 12, innerWidth - width - 4))
  }px`;
  tooltip.style.top = `${
    y + 16 + height > innerHeight ? y - height - 8 : y + 16
  }px`;
}

/** Draws a figure again with Vega, to fit its place and to respond to the pointer. */
async function draw(figure: HTMLElement, name: string) {
  const { background: _, ...spec } = figures[name]!;
  const place = find(".chart", figure);
  const view = new vega.View(vega.parse(spec), {
    renderer: "svg",
    container: place,
    hover: true,
    tooltip: showTooltip,
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
    div(
      "tools",
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

/** Number of bytes of a value in an adapter's file. */
const VALUE_BYTES = 4;

/** Adds a panel to a rank curve: a click on a rank shows its scores, its size and how to export it. */
function addPanel(
  figure: HTMLElement,
  view: View,
  { ranks, methods, ...comparison }: Panel,
) {
  const heading = make("h3");
  const details = make("div");
  const buttons = ranks.map((rank) =>
    button(String(rank), () => pick(rank), { "aria-pressed": "false" })
  );
  const pick = (rank: number) => {
    view.signal(picked, rank).runAsync();
    buttons.forEach((it, i) =>
      it.setAttribute("aria-pressed", String(ranks[i] === rank))
    );
    const others = methods.filter(({ scores }) => !(rank in scores))
      .map(({ title }) => title);
    heading.textContent = `Rank ${rank}`;
    details.replaceChildren(
      ...methods.filter(({ scores }) => rank in scores)
        .map((method) => methodAt(method, rank, comparison)),
      ...(others.length === 0 ? [] : [
        make("p", { class: "quiet method" }, `Not run: ${others.join(", ")}`),
      ]),
    );
  };
  view.addEventListener("click", (event, item) => {
    // The legend has clicks of its own.
    if (/legend/.test(item?.mark?.role ?? "")) return;
    const [x] = vega.point(event as MouseEvent, find(".chart svg", figure));
    pick(nearest(ranks, view.scale("x").invert(x - view.origin()[0])));
  });
  figure.parentElement!.classList.add("picking");
  figure.after(
    make(
      "section",
      { class: "ranks", "aria-label": "One rank" },
      make("p", { class: "quiet hint" }, "Pick a rank here, or in the figure."),
      make(
        "div",
        { class: "choices", role: "group", "aria-label": "Rank" },
        ...buttons,
      ),
      make("div", { "aria-live": "polite" }, heading, details),
    ),
  );
  pick(view.signal(picked) || ranks.at(-1));
}

function nearest(ranks: readonly number[], at: number) {
  return ranks.reduce((best, rank) =>
    Math.abs(rank - at) < Math.abs(best - at) ? rank : best
  );
}

/** One method at a rank. */
function methodAt(
  method: Panel["methods"][number],
  rank: number,
  { metrics, options }: Pick<Panel, "metrics" | "options">,
) {
  const { title, recommended, scores, size, stages } = method;
  const lines: HTMLElement[] = metrics.map((metric, i) =>
    make("p", {}, `${metric} ${scores[rank]?.[i]}`)
  );
  if (size !== null) {
    const values = rank * size.perRank;
    const bytes = VALUE_BYTES * (values + size.others);
    lines.push(
      quiet(
        `${bytesText(bytes)}: ${values.toLocaleString("en")} values and ${
          size.others.toLocaleString("en")
        } of the head`,
      ),
    );
  }
  const trained = stages.find((it) => it.rank >= rank);
  if (run !== null && trained !== undefined) {
    lines.push(
      commandLine(
        `${run.exporting} ${quoted(trained.stage)} --rank ${rank}${
          [...options, ...run.options].map((it) => ` ${quoted(it)}`).join("")
        }`,
      ),
    );
  }
  const heading = make("h4", {}, `${title} `);
  if (recommended === rank) {
    heading.append(make("span", { class: "tag" }, "recommended"));
  }
  return div("method", heading, ...lines);
}

function bytesText(bytes: number) {
  return bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : `${(bytes / 1e6).toPrecision(3)} MB`;
}

/** An argument as a shell reads it. */
function quoted(text: string) {
  return /^[\w@%+=:,./-]+$/.test(text)
    ? text
    : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A command with a button that copies it. */
function commandLine(text: string) {
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
  return div("command", code, copy);
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
  place.append(div("tools", csv));
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
  document.body.append(tooltip);
  if (run !== null) {
    document.title = `${run.pipeline}: ${document.title}`;
    find("h1").insertAdjacentHTML("afterend", run.header);
    find("main").insertAdjacentHTML("beforeend", run.section);
    find("nav").append(make("a", { href: "#this-run" }, "The run"));
  }
  document.querySelectorAll(".table").forEach(addCsvButton);
  const drawn = document.querySelectorAll<HTMLElement>("figure[data-figure]");
  for (const figure of drawn) {
    const { figure: name = "" } = figure.dataset;
    const view = await draw(figure, name);
    const panel = panels[name];
    if (panel !== undefined) addPanel(figure, view, panel);
  }
  document.documentElement.dataset.ready = "";
}

start();

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

type Attributes = Readonly<Record<string, string | number>>;

/** Makes an element; children are elements or texts. */
function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: (Node | string)[]
) {
  return filled(document.createElement(name), attributes, children);
}

/** Makes an element of a drawing. */
function svg(
  name: string,
  attributes: Attributes,
  ...children: (Node | string)[]
) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  return filled(element, attributes, children);
}

function filled<E extends Element>(
  element: E,
  attributes: Attributes,
  children: readonly (Node | string)[],
): E {
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

/** A list of names with what they stand for. */
function list(
  name: string,
  entries: readonly (readonly [string, Node | string])[],
) {
  return make(
    "dl",
    { class: name },
    ...entries.flatMap(([key, value]) => [
      make("dt", {}, key),
      make("dd", {}, value),
    ]),
  );
}

function button(text: string, onclick: () => void, attributes = {}) {
  const made = make("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", onclick);
  return made;
}

/** Saves a file. */
function save(name: string, blob: Blob) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Figures

const tooltip = make("div", { id: "tooltip", hidden: "" });

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
    .map(([key, text]) => [key, String(text)] as const)
    .filter(([, text]) => text !== "null");
  tooltip.replaceChildren(list("", fields));
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
  const fit = () => view.width(Math.min(place.clientWidth, 672)).runAsync();
  await fit();
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
      button("SVG", async () => {
        const svg = await paperSvg(name);
        save(name, new Blob([svg], { type: "image/svg+xml" }));
      }, { "aria-label": `Save as SVG: ${name}` }),
      button("PNG", async () => {
        save(name.replace(/svg$/, "png"), await pngOf(await paperSvg(name)));
      }, { "aria-label": `Save as PNG: ${name}` }),
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

/** The figure on white, at its full width. */
function paperSvg(name: string) {
  return new vega.View(vega.parse(figures[name]!), { renderer: "none" })
    .toSVG();
}

/** Pixels of a saved image per pixel of its figure. */
const SCALE = 2;

async function pngOf(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = make("canvas");
  canvas.width = SCALE * image.width;
  canvas.height = SCALE * image.height;
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) =>
    canvas.toBlob((blob) => resolve(blob!), "image/png")
  );
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
        `deno task export ${quoted(run.source)} ${
          quoted(trained.stage)
        } --rank ${rank}${
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
    save(`table-${number + 1}.csv`, blob);
  }, { "aria-label": `Save table ${number + 1} as CSV` });
  place.append(div("tools", csv));
}

function csvCell(text: string) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The run

function duration(seconds: number) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90
    ? `${minutes} min`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function dateText(date: string) {
  return `${date.slice(0, 10)} ${date.slice(11, 16)} UTC`;
}

/** Shows the run that made the report: its command, program and machine, and the stages with their times. */
function showRun(run: RunFacts) {
  const { pipeline, command, date, commit, versions, machine } = run;
  document.title = `${pipeline}: ${document.title}`;
  const fact = (key: string, value: Node | string) =>
    make("div", {}, make("dt", {}, key), make("dd", {}, value));
  find("h1").after(make(
    "dl",
    { class: "facts" },
    fact("Pipeline", pipeline),
    fact("Date", dateText(date)),
    ...(commit ? [fact("Commit", make("code", {}, commit))] : []),
    fact("Command", make("code", {}, command)),
  ));
  const section = make(
    "section",
    { id: "run" },
    make("h2", {}, "The run"),
    quiet(
      "Seconds are those of the run that made each result, possibly an earlier run on another machine. A bar shows the seconds of a stage relative to the longest one.",
    ),
    graphOf(run.groups),
    stageTable(run.stages),
    make("h3", {}, "Versions and hardware"),
    list("facts listed", Object.entries({ ...versions, ...machine })),
  );
  find("main").append(section);
  find("nav").append(make("a", { href: "#run" }, "The run"));
}

const BOX = { width: 168, height: 46, across: 20, down: 40 };

/** Draws stages as boxes in rows, each below those that it needs. */
function graphOf(groups: RunFacts["groups"]) {
  const rows = [...Map.groupBy(groups, ({ depth }) => depth).values()];
  const widest = Math.max(...rows.map((row) => row.length));
  const width = widest * (BOX.width + BOX.across) - BOX.across + 2;
  const height = rows.length * (BOX.height + BOX.down) - BOX.down + 2;
  const places = new Map<string, { readonly x: number; readonly y: number }>();
  rows.forEach((row, y) => {
    const length = row.length * (BOX.width + BOX.across) - BOX.across;
    row.forEach(({ name }, x) =>
      places.set(name, {
        x: (width - length) / 2 + x * (BOX.width + BOX.across),
        y: 1 + y * (BOX.height + BOX.down),
      })
    );
  });
  const longest = Math.max(...groups.map((it) => it.seconds));
  const edges = groups.flatMap(({ name, needs }) =>
    needs.map((need) => {
      const [from, to] = [places.get(need)!, places.get(name)!];
      const [x1, y1] = [from.x + BOX.width / 2, from.y + BOX.height];
      const [x2, y2] = [to.x + BOX.width / 2, to.y];
      const bend = (y2 - y1) / 2;
      return svg("path", {
        d: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`,
      });
    })
  );
  const boxes = groups.map(({ name, count, seconds }) => {
    const { x, y } = places.get(name)!;
    const size = { x, y, height: BOX.height, rx: 6 };
    return svg(
      "g",
      { class: "stage" },
      svg("rect", { ...size, width: BOX.width }),
      svg("rect", {
        ...size,
        class: "share",
        width: longest > 0 ? BOX.width * seconds / longest : 0,
      }),
      svg("text", { x: x + 10, y: y + 19 }, shortened(name)),
      svg(
        "text",
        { x: x + 10, y: y + 36, class: "quiet" },
        `${count > 1 ? `${count} stages, ` : ""}${duration(seconds)}`,
      ),
    );
  });
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "Graph" },
    svg(
      "svg",
      {
        class: "graph",
        role: "img",
        "aria-label": "Stages of the pipeline and what each needs",
        viewBox: `0 0 ${width} ${height}`,
        style: `max-width: ${width}px; min-width: ${Math.min(width, 560)}px`,
      },
      ...edges,
      ...boxes,
    ),
  );
}

function shortened(name: string) {
  return name.length <= 21 ? name : `${name.slice(0, 20)}…`;
}

/** Number of stages above which their table is folded. */
const FEW_STAGES = 16;

function stageTable(stages: RunFacts["stages"]) {
  const row = (name: "th" | "td", texts: readonly string[]) =>
    make("tr", {}, ...texts.map((text) => make(name, {}, text)));
  const scroll = { class: "scroll", tabindex: "0", role: "group" };
  const table = div(
    "table",
    make(
      "div",
      { ...scroll, "aria-label": "Stages" },
      make(
        "table",
        {},
        row("th", ["Stage", "Seconds", "Started", "In this run"]),
        ...stages.map(({ id, seconds, started, outcome }) =>
          row("td", [
            id,
            seconds.toFixed(1),
            dateText(started),
            outcome === "ran" ? "ran" : "from the cache",
          ])
        ),
      ),
    ),
  );
  const summary = make("summary", {}, `All ${stages.length} stages`);
  return stages.length <= FEW_STAGES
    ? table
    : make("details", {}, summary, table);
}

// Everything is printed.
addEventListener("beforeprint", () => {
  for (const it of document.querySelectorAll("details")) it.open = true;
});

// A function instead of a top-level await, with which the process of a stage
// would run this file: it loads all scripts of its task, to run them when needed.
async function start() {
  document.body.append(tooltip);
  if (run !== null) showRun(run);
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

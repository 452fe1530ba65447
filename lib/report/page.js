// Runs in the page of a report. `vega` is Vega's runtime.

// From `page.ts`: figures for Vega, and panels for rank curves.
const { figures, panels, picked, shown } = dataOf("report");
// From the command line (`run_facts.ts`); null without it.
const run = dataOf("run");

function dataOf(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

/** Makes an element; children are elements or texts. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function button(text, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, text);
}

/** Saves a file. */
function save(name, blob) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Figures

const tooltip = make("div", { id: "tooltip", hidden: "" });

/** Vega's handler of tooltips: shows the fields of what is under the pointer. */
function showTooltip(_handler, event, _item, value) {
  tooltip.hidden = value === null || value === undefined || value === "";
  if (tooltip.hidden) return;
  const fields = typeof value === "object"
    ? Object.entries(value).filter(([, text]) => text !== "null")
    : [["", value]];
  tooltip.replaceChildren(
    make(
      "dl",
      {},
      ...fields.flatMap(([key, text]) => [
        make("dt", {}, key),
        make("dd", {}, String(text)),
      ]),
    ),
  );
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
async function draw(figure) {
  const name = figure.dataset.figure;
  const spec = { ...figures[name], background: undefined };
  const place = figure.querySelector(".chart");
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
    make(
      "div",
      { class: "tools" },
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
function methodButtons(view, { signals }) {
  const titles = view.scale("color").domain();
  const canPick = signals?.some(({ name }) => name === shown);
  if (!canPick || titles.length < 2) return [];
  const buttons = titles.map((title) =>
    button(title, ({ currentTarget }) => {
      const isPressed = currentTarget.ariaPressed === "true";
      currentTarget.ariaPressed = String(!isPressed);
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
function paperSvg(name) {
  return new vega.View(vega.parse(figures[name]), { renderer: "none" }).toSVG();
}

/** Pixels of a saved image per pixel of its figure. */
const SCALE = 2;

async function pngOf(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = make("canvas");
  canvas.width = SCALE * image.width;
  canvas.height = SCALE * image.height;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// Ranks

/** Number of bytes of a value in an adapter's file. */
const VALUE_BYTES = 4;

/** Adds a panel to a rank curve: a click on a rank shows its scores, its size and how to export it. */
function addPanel(figure, view) {
  const { ranks, methods, ...comparison } = panels[figure.dataset.figure];
  const heading = make("h3");
  const details = make("div");
  const buttons = ranks.map((rank) =>
    button(String(rank), () => pick(rank), { "aria-pressed": "false" })
  );
  const pick = (rank) => {
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
        make(
          "p",
          { class: "quiet method" },
          `Not run: ${others.join(", ")}`,
        ),
      ]),
    );
  };
  view.addEventListener("click", (event, item) => {
    // The legend has clicks of its own.
    if (/legend/.test(item?.mark?.role ?? "")) return;
    const drawing = figure.querySelector(".chart svg");
    const x = vega.point(event, drawing)[0] - view.origin()[0];
    pick(nearest(ranks, view.scale("x").invert(x)));
  });
  figure.parentElement.classList.add("picking");
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

function nearest(ranks, at) {
  return ranks.reduce((best, rank) =>
    Math.abs(rank - at) < Math.abs(best - at) ? rank : best
  );
}

/** One method at a rank. */
function methodAt(method, rank, { metrics, options }) {
  const { title, recommended, scores, size, stages } = method;
  const lines = metrics.map((metric, i) =>
    make("p", {}, `${metric} ${scores[rank][i]}`)
  );
  if (size !== null) {
    const values = rank * size.perRank;
    const bytes = VALUE_BYTES * (values + size.others);
    lines.push(
      make(
        "p",
        { class: "quiet" },
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
  return make(
    "div",
    { class: "method" },
    make(
      "h4",
      {},
      `${title} `,
      ...(recommended === rank
        ? [make("span", { class: "tag" }, "recommended")]
        : []),
    ),
    ...lines,
  );
}

function bytesText(bytes) {
  return bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : `${(bytes / 1e6).toPrecision(3)} MB`;
}

/** An argument as a shell reads it. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text)
    ? text
    : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A command with a button that copies it. */
function commandLine(text) {
  const code = make("code", { tabindex: "0" }, text);
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      // The browser forbids it: leave the text selected for the user to copy.
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
    setTimeout(() => copy.textContent = "Copy", 2000);
  }, { "aria-label": `Copy: ${text}` });
  return make("div", { class: "command" }, code, copy);
}

// Tables

/** Adds a button that saves a table as CSV (RFC 4180). */
function addCsvButton(place, number) {
  const rows = [...place.querySelectorAll("tr")].map((row) =>
    [...row.cells].map(({ textContent }) => csvCell(textContent)).join()
  );
  place.append(
    make(
      "div",
      { class: "tools" },
      button(
        "CSV",
        () =>
          save(
            `table-${number + 1}.csv`,
            new Blob([rows.map((row) => `${row}\r\n`).join("")], {
              type: "text/csv",
            }),
          ),
        { "aria-label": `Save table ${number + 1} as CSV` },
      ),
    ),
  );
}

function csvCell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The run

function facts(entries) {
  return make(
    "dl",
    { class: "facts" },
    ...entries.filter(([, value]) => value).map(([key, value]) =>
      make("div", {}, make("dt", {}, key), make("dd", {}, value))
    ),
  );
}

function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90
    ? `${minutes} min`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function dateText(date) {
  return `${date.slice(0, 10)} ${date.slice(11, 16)} UTC`;
}

/** Shows the run that made the report: its command, program and machine, and the stages with their times. */
function showRun() {
  const { pipeline, command, date, commit, versions, machine, stages } = run;
  document.title = `${pipeline}: ${document.title}`;
  document.querySelector("h1").after(facts([
    ["Pipeline", pipeline],
    ["Date", dateText(date)],
    ["Commit", commit && make("code", {}, commit)],
    ["Command", make("code", {}, command)],
  ]));
  const section = make(
    "section",
    { id: "run" },
    make("h2", {}, "The run"),
    make(
      "p",
      { class: "quiet" },
      "Seconds are those of the run that made each result, possibly an earlier run on another machine. A bar shows the seconds of a stage relative to the longest one.",
    ),
    graphOf(groupsOf(stages)),
    stageTable(stages),
    make("h3", {}, "Versions and hardware"),
    make(
      "dl",
      { class: "facts listed" },
      ...Object.entries({ ...versions, ...machine }).flatMap(([key, value]) => [
        make("dt", {}, key),
        make("dd", {}, value),
      ]),
    ),
  );
  document.querySelector("main").append(section);
  const nav = document.querySelector("nav");
  nav.append(make("a", { href: "#run" }, "The run"));
}

/** Stages by name, with their seconds, in the order of the pipeline. */
function groupsOf(stages) {
  const groups = new Map();
  const nameOf = new Map(stages.map(({ id, name }) => [id, name]));
  for (const { name, seconds, needs } of stages) {
    const group = groups.get(name) ??
      { name, count: 0, seconds: 0, needs: new Set(), depth: 0 };
    groups.set(name, group);
    group.count++;
    group.seconds += seconds;
    for (const id of needs) group.needs.add(nameOf.get(id));
    group.needs.delete(undefined);
  }
  for (const group of groups.values()) {
    for (const need of group.needs) {
      group.depth = Math.max(group.depth, groups.get(need).depth + 1);
    }
  }
  return groups;
}

const BOX = { width: 168, height: 46, across: 20, down: 40 };

/** Draws stages as boxes in rows, each below those that it needs. */
function graphOf(groups) {
  const rows = Object.values(
    Object.groupBy(groups.values(), ({ depth }) => depth),
  );
  const widest = Math.max(...rows.map((row) => row.length));
  const width = widest * (BOX.width + BOX.across) - BOX.across + 2;
  const height = rows.length * (BOX.height + BOX.down) - BOX.down + 2;
  const places = new Map();
  rows.forEach((row, y) => {
    const length = row.length * (BOX.width + BOX.across) - BOX.across;
    row.forEach(({ name }, x) =>
      places.set(name, {
        x: (width - length) / 2 + x * (BOX.width + BOX.across),
        y: 1 + y * (BOX.height + BOX.down),
      })
    );
  });
  const longest = Math.max(...[...groups.values()].map((it) => it.seconds));
  const edges = [...groups.values()].flatMap(({ name, needs }) =>
    [...needs].filter((need) => !isImplied(need, needs, groups)).map((need) => {
      const [from, to] = [places.get(need), places.get(name)];
      const [x1, y1] = [from.x + BOX.width / 2, from.y + BOX.height];
      const [x2, y2] = [to.x + BOX.width / 2, to.y];
      const bend = (y2 - y1) / 2;
      return svg("path", {
        d: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`,
      });
    })
  );
  const boxes = [...groups.values()].map(({ name, count, seconds }) => {
    const { x, y } = places.get(name);
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

/** Whether a path through another need makes the edge redundant. */
function isImplied(need, needs, groups) {
  const reaches = (name) => {
    const { needs } = groups.get(name);
    return needs.has(need) || [...needs].some(reaches);
  };
  return [...needs].some((other) => other !== need && reaches(other));
}

function shortened(name) {
  return name.length <= 21 ? name : `${name.slice(0, 20)}…`;
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Number of stages above which their table is folded. */
const FEW_STAGES = 16;

function stageTable(stages) {
  const table = make(
    "div",
    { class: "table" },
    make(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": "Stages" },
      make(
        "table",
        {},
        make(
          "tr",
          {},
          ...["Stage", "Seconds", "Started", "In this run"].map((text) =>
            make("th", { scope: "col" }, text)
          ),
        ),
        ...stages.map(({ id, seconds, started, outcome }) =>
          make(
            "tr",
            {},
            ...[
              id,
              seconds.toFixed(1),
              dateText(started),
              outcome === "ran" ? "ran" : "from the cache",
            ].map((text) => make("td", {}, text)),
          )
        ),
      ),
    ),
  );
  return stages.length <= FEW_STAGES ? table : make(
    "details",
    {},
    make("summary", {}, `All ${stages.length} stages`),
    table,
  );
}

// Everything is printed.
addEventListener("beforeprint", () => {
  for (const it of document.querySelectorAll("details")) it.open = true;
});

// A function instead of a top-level await, with which the process of a stage
// would run this file: it loads all scripts of its task, to run them when needed.
async function start() {
  document.body.append(tooltip);
  if (run !== null) showRun();
  document.querySelectorAll(".table").forEach(addCsvButton);
  for (const figure of document.querySelectorAll("figure[data-figure]")) {
    const view = await draw(figure);
    if (figure.dataset.figure in panels) addPanel(figure, view);
  }
  document.documentElement.dataset.ready = "";
}

start();

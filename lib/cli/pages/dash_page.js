// The page of "deno task dash": asks for the state of the pipeline once a second, and draws it.

/** Milliseconds between two requests for the state. */
const PAUSE = 1000;

/** Number of curves shown until the user asks for all. */
const FEW_CURVES = 12;

const GLYPHS = { done: "✓", running: "▶", failed: "✕", waiting: "·" };

/** @param {string} id */
const byId = (id) => document.getElementById(id);

/** An element with attributes and children; texts are never read as HTML. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, String(value));
  }
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, String(value));
  }
  made.append(...children);
  return made;
}

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
}

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** An estimate, to the second. */
function roughly(seconds) {
  return seconds < 60 ? `${Math.ceil(seconds)} s` : duration(seconds);
}

/** The metric whose curve is drawn. */
const METRIC = "loss";

/** Points of each stage's curve that have been fetched. */
const curves = new Map();

/** The log that each curve comes from. */
const sources = new Map();

/** The stage whose log is shown: a running one until the user chooses. */
let chosen = "";
let isChosen = false;
let showAll = false;
let state;

async function update() {
  state = await ask("state");
  const withCurve = state.stages.filter(({ points }) => points[METRIC] > 1);
  for (const { id, points, log } of withCurve) {
    const known = sources.get(id) === log ? curves.get(id) ?? [] : [];
    sources.set(id, log);
    const from = known.length <= points[METRIC] ? known.length : 0;
    if (from === points[METRIC]) continue;
    const more = await ask(
      `series?stage=${encodeURIComponent(id)}&name=${METRIC}&from=${from}`,
    );
    curves.set(id, [...known.slice(0, from), ...more]);
  }
  drawSummary();
  drawGraph();
  drawRunning();
  drawScores();
  drawCurves(withCurve);
  drawStages();
  drawReport();
  if (chosen !== "") await drawLog();
}

function drawSummary() {
  const { pipeline, stages, problem } = state;
  document.title = `${pipeline} - dash`;
  byId("title").textContent = pipeline || "dash";
  const count = (it) => stages.filter(({ state }) => state === it).length;
  const parts = ["running", "failed", "waiting"]
    .filter((it) => count(it) > 0).map((it) => `${count(it)} ${it}`);
  const done = `${count("done")} of ${stages.length} stages done`;
  byId("summary").textContent = [done, ...parts].join(", ");
  byId("problem").textContent = problem ?? "";
  byId("problem").hidden = problem === undefined;
}

/** Groups stages by name, with the depth of each name in the graph and the names that it depends on directly. */
function layOut() {
  const byName = Map.groupBy(state.stages, ({ name }) => name);
  const nameOf = new Map(state.stages.map(({ id, name }) => [id, name]));
  const depths = new Map();
  const needs = new Map();
  const reached = new Map();
  // Stages come in topological order.
  for (const [name, stages] of byName) {
    const needed = new Set(
      stages.flatMap((it) => it.needs).map((id) => nameOf.get(id)),
    );
    needed.delete(name);
    needs.set(name, needed);
    reached.set(
      name,
      new Set([...needed].flatMap((it) => [it, ...reached.get(it)])),
    );
    depths.set(
      name,
      Math.max(-1, ...[...needed].map((it) => depths.get(it) ?? -1)) + 1,
    );
  }
  // Edges that other edges imply are left out.
  for (const needed of needs.values()) {
    const all = [...needed];
    for (const it of all) {
      if (all.some((other) => reached.get(other).has(it))) needed.delete(it);
    }
  }
  return { byName, depths, needs };
}

/** A box of the graph: as wide as the window allows, within limits. */
const BOX = { narrow: 120, wide: 176, gap: 32, cell: 16, head: 24 };

/** State of the last drawing. The graph is drawn again only if it changes, so tooltips and focus stay. */
let drawnGraph = "";

function drawGraph() {
  const { byName, depths, needs } = layOut();
  const across = Math.max(0, ...depths.values()) + 1;
  const room = byId("graph").clientWidth - 8 - (across - 1) * BOX.gap;
  const boxWidth = Math.min(
    BOX.wide,
    Math.max(BOX.narrow, Math.floor(room / across)),
  );
  const letters = Math.floor((boxWidth - 16) / 6.6);
  const cells = Math.floor((boxWidth - 12) / (BOX.cell + 4));
  const now = JSON.stringify([
    boxWidth,
    state.stages.map(({ id, state, reason }) => [id, state, reason]),
  ]);
  if (now === drawnGraph) return;
  drawnGraph = now;
  const svg = drawn("svg", { role: "group", "aria-label": "Stages" });
  const places = new Map();
  const heights = [];
  for (const [name, stages] of byName) {
    const depth = depths.get(name);
    const lines = Math.ceil(stages.length / cells);
    const height = BOX.head + lines * (BOX.cell + 3) + 8;
    const y = heights[depth] ?? 4;
    heights[depth] = y + height + 12;
    places.set(name, { x: 4 + depth * (boxWidth + BOX.gap), y, height });
  }
  for (const [name, needed] of needs) {
    const to = places.get(name);
    for (const need of needed) {
      const from = places.get(need);
      const [x1, y1] = [from.x + boxWidth, from.y + from.height / 2];
      const [x2, y2] = [to.x, to.y + to.height / 2];
      const bend = BOX.gap / 2;
      svg.append(drawn("path", {
        class: "edge",
        d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
      }));
    }
  }
  for (const [name, stages] of byName) {
    const { x, y, height } = places.get(name);
    svg.append(
      drawn("rect", { class: "box", x, y, width: boxWidth, height, rx: 5 }),
      drawn(
        "text",
        { x: x + 8, y: y + 16 },
        name.length > letters ? `${name.slice(0, letters - 1)}…` : name,
      ),
    );
    stages.forEach((stage, i) => {
      const left = x + 8 + (i % cells) * (BOX.cell + 4);
      const top = y + BOX.head + Math.floor(i / cells) * (BOX.cell + 3);
      const words = [stage.id, stage.state, stage.reason]
        .filter((it) => it !== undefined).join(", ");
      const cell = drawn(
        "g",
        {
          class: `cell ${stage.state}`,
          tabindex: 0,
          role: "button",
          "aria-label": words,
          "data-stage": stage.id,
        },
        drawn("title", {}, words),
        drawn("rect", {
          x: left,
          y: top,
          width: BOX.cell,
          height: BOX.cell,
          rx: 3,
        }),
        drawn(
          "text",
          { x: left + BOX.cell / 2, y: top + 12 },
          GLYPHS[stage.state],
        ),
      );
      cell.addEventListener("click", () => choose(stage.id));
      cell.addEventListener("keydown", ({ key }) => {
        if (key === "Enter" || key === " ") choose(stage.id);
      });
      svg.append(cell);
    });
  }
  const width = 8 + across * (boxWidth + BOX.gap) - BOX.gap;
  const height = Math.max(0, ...heights.filter((it) => it !== undefined));
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  replace(byId("graph"), svg);
}

/** Replaces the children of an element, and keeps the focus on the same stage. */
function replace(parent, ...children) {
  const focused = document.activeElement?.getAttribute?.("data-stage");
  const held = parent.contains(document.activeElement);
  parent.replaceChildren(...children);
  if (!held || !focused) return;
  parent.querySelector(`[data-stage="${CSS.escape(focused)}"]`)?.focus();
}

/** Where each running stage was when the page saw it first: what came before, such as compiling, says nothing of its speed. */
const firstSeen = new Map();

/** Seconds until a running stage ends at its speed since it was first seen; undefined until that is known. */
function secondsLeft({ id, started, progress: { done, total } }, now) {
  const first = firstSeen.get(id);
  if (first?.started !== started || done < first.done) {
    firstSeen.set(id, { started, done, now });
    return undefined;
  }
  if (done === first.done || done >= total) return undefined;
  return (now - first.now) / 1000 * (total - done) / (done - first.done);
}

function drawRunning() {
  const running = state.stages.filter((it) => it.state === "running");
  byId("running-section").hidden = running.length === 0;
  byId("running").replaceChildren(...running.map(
    (stage) => {
      const { id, started, progress } = stage;
      const now = Date.parse(state.now);
      const seconds = (now - Date.parse(started)) / 1000;
      const times = [duration(Math.max(0, seconds))];
      const bar = element("progress", { max: 1, "aria-label": id });
      const words = [];
      if (progress !== undefined && progress.total > 0) {
        bar.value = Math.min(1, progress.done / progress.total);
        words.push(`${progress.done}/${progress.total} ${progress.unit}`);
        // Columns of the log become items.
        words.push(...(progress.note?.split(/ {2,}/) ?? []));
        const left = secondsLeft(stage, now);
        if (left !== undefined) times.push(`${roughly(left)} left`);
      }
      return element(
        "div",
        { class: "card" },
        element("h3", {}, id),
        bar,
        element("div", { class: "quiet" }, times.join(", ")),
        element("div", { class: "quiet" }, words.join(", ")),
        ...(curves.has(id) ? [curve(curves.get(id))] : []),
      );
    },
  ));
}

/** A curve with its axes, and the value at the pointer. */
function curve(points) {
  const [width, height, left, bottom] = [300, 110, 40, 16];
  const [steps, values] = [
    points.map(([it]) => it),
    points.map(([, it]) => it),
  ];
  const [first, last] = [steps[0], steps.at(-1)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (step) =>
    left + (width - left - 4) * (step - first) / (last - first || 1);
  const y = (value) =>
    height - bottom - (height - bottom - 8) * (value - low) / (high - low || 1);
  const caption = drawn("text", {
    class: "quiet",
    x: width - 4,
    y: height - 3,
    "text-anchor": "end",
  });
  const dot = drawn("circle", { r: 3 });
  const show = (i) => {
    caption.textContent = `step ${steps[i]}: ${METRIC} ${values[i].toFixed(4)}`;
    dot.setAttribute("cx", x(steps[i]));
    dot.setAttribute("cy", y(values[i]));
  };
  show(points.length - 1);
  const svg = drawn(
    "svg",
    {
      class: "curve",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `${METRIC} from ${
        values[0].toFixed(4)
      } at step ${first} to ${values.at(-1).toFixed(4)} at step ${last}`,
    },
    drawn("line", {
      x1: left,
      x2: width - 4,
      y1: height - bottom,
      y2: height - bottom,
    }),
    drawn("text", { class: "quiet", x: 0, y: 12 }, high.toPrecision(3)),
    drawn(
      "text",
      { class: "quiet", x: 0, y: height - bottom },
      low.toPrecision(3),
    ),
    drawn("path", {
      d: points.map(([step, value], i) =>
        `${i === 0 ? "M" : "L"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`
      ).join(""),
    }),
    dot,
    caption,
  );
  svg.addEventListener("pointermove", ({ clientX }) => {
    const box = svg.getBoundingClientRect();
    const at = (clientX - box.left) / box.width * width;
    let nearest = 0;
    steps.forEach((step, i) => {
      if (Math.abs(x(step) - at) < Math.abs(x(steps[nearest]) - at)) {
        nearest = i;
      }
    });
    show(nearest);
  });
  svg.addEventListener("pointerleave", () => show(points.length - 1));
  return svg;
}

/** State of the last drawing. Curves are drawn again only if it changes, so that the value at the pointer stays. */
let drawnCurves = "";

function drawCurves(stages) {
  const ended = stages.filter((it) => it.state !== "running");
  byId("curves-section").hidden = ended.length === 0;
  const shown = showAll ? ended : ended.slice(0, FEW_CURVES);
  const now = shown.map(({ id }) => `${id} ${curves.get(id).length}`).join();
  if (now !== drawnCurves) {
    drawnCurves = now;
    byId("curves").replaceChildren(...shown.map(({ id }) =>
      element(
        "div",
        { class: "card" },
        element("h3", {}, id),
        curve(curves.get(id)),
      )
    ));
  }
  const more = byId("all-curves");
  more.hidden = ended.length === shown.length;
  more.textContent = `Show all ${ended.length} curves`;
}

function drawScores() {
  const { tables } = state;
  byId("scores-section").hidden = tables.length === 0;
  byId("scores").replaceChildren(...tables.map(({ task, metric, columns }) => {
    const ranks = [
      ...new Set(columns.flatMap(({ scores }) => Object.keys(scores))),
    ].map(Number).sort((a, b) => a - b);
    const head = element(
      "tr",
      {},
      element("th", { scope: "col" }, "Rank"),
      ...columns.map(({ title, done, total }) =>
        element(
          "th",
          { scope: "col" },
          title,
          element("span", {}, `${done} of ${total} results`),
        )
      ),
    );
    const best = columns.map(({ scores }) =>
      Math.max(...Object.values(scores))
    );
    return element(
      "div",
      { class: "scroll" },
      element("h3", {}, `${task}: ${metric}`),
      element(
        "table",
        {},
        element("thead", {}, head),
        element(
          "tbody",
          {},
          ...ranks.map((rank) =>
            element(
              "tr",
              {},
              element("th", { scope: "row" }, String(rank)),
              ...columns.map(({ scores }, i) => {
                const score = scores[rank];
                return score === undefined ? element("td", {}, "") : element(
                  "td",
                  score === best[i] ? { class: "best" } : {},
                  score.toFixed(4),
                );
              }),
            )
          ),
        ),
      ),
    );
  }));
}

function drawStages() {
  const select = byId("stage");
  const ids = state.stages.map(({ id }) => id);
  if (!isChosen || !ids.includes(chosen)) {
    const of = (it) => state.stages.find(({ state }) => state === it)?.id;
    chosen = of("running") ?? of("failed") ??
      (ids.includes(chosen) ? chosen : ids[0] ?? "");
  }
  const listed = [...select.options].map(({ value }) => value);
  if (listed.join() !== ids.join()) {
    select.replaceChildren(
      ...ids.map((id) => element("option", { value: id }, id)),
    );
  }
  select.value = chosen;
}

async function drawLog() {
  const lines = await ask(`log?stage=${encodeURIComponent(chosen)}`);
  const log = byId("log");
  const text = lines.length === 0 ? "No log yet" : lines.join("\n");
  if (log.textContent === text) return;
  const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.textContent = text;
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

/** The report that is shown. */
let drawnReport = "";

function drawReport() {
  const { reports } = state;
  byId("report-section").hidden = reports.length === 0;
  const now = JSON.stringify(reports);
  if (reports.length === 0 || now === drawnReport) return;
  drawnReport = now;
  const address = ({ stage }) => `report?stage=${encodeURIComponent(stage)}`;
  byId("report-links").replaceChildren(
    ...reports.flatMap((it) => [
      element(
        "a",
        { href: address(it), target: "_blank" },
        `Open ${it.stage} in a new tab`,
      ),
      " ",
    ]),
  );
  // A later run replaces the report at the same address.
  byId("report").src = `${address(reports[0])}&version=${
    encodeURIComponent(reports[0].version)
  }`;
}

async function choose(id) {
  chosen = id;
  isChosen = true;
  byId("stage").value = id;
  await drawLog();
}

byId("stage").addEventListener("change", ({ target }) => choose(target.value));
byId("all-curves").addEventListener("click", () => {
  showAll = true;
  drawCurves(state.stages.filter(({ points }) => points[METRIC] > 1));
});

for (;;) {
  try {
    await update();
  } catch (error) {
    byId("problem").textContent = error instanceof TypeError
      ? 'dash has stopped: start it again with "deno task dash"'
      : error.message;
    byId("problem").hidden = false;
  }
  await new Promise((resolve) => setTimeout(resolve, PAUSE));
}

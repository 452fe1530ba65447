// The page of "deno task dash", without its types: asks for the state of the pipeline once a second, and shows it.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { curve, element, type Point } from "./dash_drawings.ts";
import type { DashState, StageState } from "./dash_state.ts";

/** Milliseconds between two requests for the state. */
const PAUSE = 1000;

/** Number of curves shown until the user asks for all. */
const FEW_CURVES = 12;

function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

async function ask<T>(path: string): Promise<T> {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
}

/** The metric whose curve is drawn. */
const METRIC = "loss";

/** Points of each stage's curve that have been fetched. */
const curves = new Map<string, Point[]>();

/** The log that each curve comes from. */
const sources = new Map<string, string | undefined>();

/** The stage whose log is shown: a running one until the user chooses. */
let chosen = "";
let isChosen = false;
let showAll = false;
let state: DashState;

async function update() {
  state = await ask("state");
  const withCurve = stagesWithCurve();
  for (const { id, points, log } of withCurve) {
    const count = points[METRIC]!;
    const known = sources.get(id) === log ? curves.get(id) ?? [] : [];
    sources.set(id, log);
    const from = known.length <= count ? known.length : 0;
    if (from === count) continue;
    const more = await ask<Point[]>(
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

function stagesWithCurve() {
  return state.stages.filter(({ points }) => (points[METRIC] ?? 0) > 1);
}

function drawSummary() {
  const { pipeline, stages, problem } = state;
  document.title = `${pipeline} - dash`;
  byId("title").textContent = pipeline || "dash";
  const count = (it: StageState["state"]) =>
    stages.filter(({ state }) => state === it).length;
  const parts = (["running", "failed", "waiting"] as const)
    .filter((it) => count(it) > 0).map((it) => `${count(it)} ${it}`);
  const done = `${count("done")} of ${stages.length} stages done`;
  byId("summary").textContent = [done, ...parts].join(", ");
  byId("problem").textContent = problem ?? "";
  byId("problem").hidden = problem === undefined;
}

/** The graph that is shown. It is replaced only if it changes, so tooltips and focus stay. */
let drawnGraph = "";

function drawGraph() {
  if (state.graph === drawnGraph) return;
  drawnGraph = state.graph;
  const parent = byId("graph");
  // The focus stays on the same stage.
  const focused = parent.querySelector(":focus")?.getAttribute("data-stage");
  parent.innerHTML = state.graph;
  if (!focused) return;
  parent.querySelector<SVGElement>(`[data-stage="${CSS.escape(focused)}"]`)
    ?.focus();
}

/** Chooses the stage of the graph that an event is for. */
function chooseIn({ target }: Event) {
  const stage = (target as Element).closest("[data-stage]");
  if (stage !== null) choose(stage.getAttribute("data-stage")!);
}

function drawRunning() {
  const running = state.stages.filter((it) => it.state === "running");
  byId("running-section").hidden = running.length === 0;
  byId("running").replaceChildren(...running.map(
    ({ id, running }) => {
      const { time = "", text = "", share } = running ?? {};
      const bar = element("progress", { max: 1, "aria-label": id });
      if (share !== undefined) bar.value = share;
      return element(
        "div",
        { class: "card" },
        element("h3", id),
        bar,
        element("div", { class: "quiet" }, time),
        element("div", { class: "quiet" }, text),
        ...(curves.has(id) ? [curve(curves.get(id)!, METRIC)] : []),
      );
    },
  ));
}

/** State of the last drawing. Curves are drawn again only if it changes, so that the value at the pointer stays. */
let drawnCurves = "";

function drawCurves(stages: readonly StageState[]) {
  const ended = stages.filter((it) => it.state !== "running");
  byId("curves-section").hidden = ended.length === 0;
  const shown = showAll ? ended : ended.slice(0, FEW_CURVES);
  const now = shown.map(({ id }) => `${id} ${curves.get(id)!.length}`).join();
  if (now !== drawnCurves) {
    drawnCurves = now;
    byId("curves").replaceChildren(...shown.map(({ id }) =>
      element(
        "div",
        { class: "card" },
        element("h3", id),
        curve(curves.get(id)!, METRIC),
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
    const titles = columns.map(({ title, done, total }) =>
      element(
        "th",
        { scope: "col" },
        title,
        element("span", `${done} of ${total} results`),
      )
    );
    const best: number[] = columns.map(({ scores }) =>
      Math.max(...Object.values(scores))
    );
    const rows = ranks.map((rank) => {
      const cells = columns.map(({ scores }, i) =>
        element(
          "td",
          { class: scores[rank] === best[i] ? "best" : "" },
          scores[rank]?.toFixed(4) ?? "",
        )
      );
      const head = element("th", { scope: "row" }, `${rank}`);
      return element("tr", head, ...cells);
    });
    const rank = element("th", { scope: "col" }, "Rank");
    const head = element("tr", rank, ...titles);
    return element(
      "div",
      { class: "scroll" },
      element("h3", `${task}: ${metric}`),
      element("table", element("thead", head), element("tbody", ...rows)),
    );
  }));
}

function drawStages() {
  const select = byId<HTMLSelectElement>("stage");
  const ids = state.stages.map(({ id }) => id);
  if (!isChosen || !ids.includes(chosen)) {
    const of = (it: StageState["state"]) =>
      state.stages.find(({ state }) => state === it)?.id;
    chosen = of("running") ?? of("failed") ??
      (ids.includes(chosen) ? chosen : ids[0] ?? "");
  }
  const listed = [...select.options].map(({ value }) => value);
  if (listed.join() !== ids.join()) {
    const options = ids.map((id) => element("option", { value: id }, id));
    select.replaceChildren(...options);
  }
  select.value = chosen;
}

async function drawLog() {
  const lines = await ask<string[]>(`log?stage=${encodeURIComponent(chosen)}`);
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
  const [first] = reports;
  byId("report-section").hidden = first === undefined;
  const now = JSON.stringify(reports);
  if (first === undefined || now === drawnReport) return;
  drawnReport = now;
  const address = ({ stage }: DashState["reports"][number]) =>
    `report?stage=${encodeURIComponent(stage)}`;
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
  byId<HTMLIFrameElement>("report").src = `${address(first)}&version=${
    encodeURIComponent(first.version)
  }`;
}

async function choose(id: string) {
  chosen = id;
  isChosen = true;
  byId<HTMLSelectElement>("stage").value = id;
  await drawLog();
}

const list = byId<HTMLSelectElement>("stage");
list.addEventListener("change", () => choose(list.value));
byId("graph").addEventListener("click", chooseIn);
byId("graph").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") chooseIn(event);
});
byId("all-curves").addEventListener("click", () => {
  showAll = true;
  drawCurves(stagesWithCurve());
});

for (;;) {
  try {
    await update();
  } catch (error) {
    byId("problem").textContent = error instanceof TypeError
      ? 'dash has stopped: start it again with "deno task dash"'
      : (error as Error).message;
    byId("problem").hidden = false;
  }
  await new Promise((resolve) => setTimeout(resolve, PAUSE));
}

// The page of "deno task dash", without its types: asks for the state of the pipeline once a second, and shows it.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import type { sectionsOf } from "./dash_sections.ts";
import type { DashState, StageState } from "./dash_state.ts";

/** Milliseconds between two requests for the state. */
const PAUSE = 1000;

function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

async function ask<T>(path: string): Promise<T> {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
}

/** The stage whose log is shown: a running one until the user chooses. */
let chosen = "";
let isChosen = false;
let showAll = false;

/** What each element shows. */
const shown = new Map<string, string>();

/** Puts HTML into its place unless it is there, so that tooltips and the value at the pointer stay. The focus stays on the same stage. A section without content is hidden. */
function show(id: string, html: string) {
  if (shown.get(id) === html) return;
  shown.set(id, html);
  const parent = byId(id);
  const focused = parent.querySelector(":focus")?.getAttribute("data-stage");
  parent.innerHTML = html;
  if (focused) {
    parent.querySelector<SVGElement>(`[data-stage="${CSS.escape(focused)}"]`)
      ?.focus();
  }
  parent.closest("section")!.hidden = html === "";
}

async function update() {
  const state = await ask<
    DashState & { sections: ReturnType<typeof sectionsOf> }
  >(showAll ? "state?all" : "state");
  const { pipeline, stages, problem, reports } = state;
  document.title = `${pipeline} - dash`;
  byId("title").textContent = pipeline || "dash";
  const count = (it: StageState["state"]) =>
    stages.filter(({ state }) => state === it).length;
  const parts = (["running", "failed", "waiting"] as const)
    .filter((it) => count(it) > 0).map((it) => `${count(it)} ${it}`);
  const done = `${count("done")} of ${stages.length} stages done`;
  byId("summary").textContent = [done, ...parts].join(", ");
  tell(problem);
  for (const [id, html] of Object.entries(state.sections)) show(id, html);
  const [report] = reports;
  if (report !== undefined) showReport(report);
  if (!isChosen || !stages.some(({ id }) => id === chosen)) {
    const of = (it: StageState["state"]) =>
      stages.find(({ state }) => state === it)?.id;
    const known = stages.find(({ id }) => id === chosen) ?? stages[0];
    chosen = of("running") ?? of("failed") ?? known?.id ?? "";
  }
  if (chosen !== "") await showLog();
}

function tell(problem: string | undefined) {
  byId("problem").textContent = problem ?? "";
  byId("problem").hidden = problem === undefined;
}

async function showLog() {
  byId<HTMLSelectElement>("stage").value = chosen;
  const stage = `stage=${encodeURIComponent(chosen)}`;
  const lines = await ask<string[]>(`log?${stage}`);
  byId("about").textContent = await ask<string>(`about?${stage}`);
  const log = byId("log");
  const text = lines.length === 0 ? "No log yet" : lines.join("\n");
  if (log.textContent === text) return;
  const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.textContent = text;
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

/** A later run replaces the report at the same address, so its version is part of that here. */
function showReport({ stage, version }: DashState["reports"][number]) {
  const address = `report?${new URLSearchParams({ stage, version })}`;
  const frame = byId<HTMLIFrameElement>("report");
  if (frame.getAttribute("src") !== address) frame.src = address;
}

/** Chooses the stage of the graph that an event is for. */
async function chooseIn({ target }: Event) {
  const stage = (target as Element).closest("[data-stage]");
  if (stage !== null) await choose(stage.getAttribute("data-stage")!);
}

async function choose(id: string) {
  chosen = id;
  isChosen = true;
  await showLog();
}

/** Shows the value of a curve at the pointer, else its last one. */
function mark({ target, type, clientX }: PointerEvent) {
  const svg = (target as Element).closest<SVGSVGElement>(".curve");
  if (svg === null) return;
  const marks: [x: number, y: number, caption: string][] = JSON.parse(
    svg.dataset.points!,
  );
  const box = svg.getBoundingClientRect();
  const at = (clientX - box.left) / box.width * svg.viewBox.baseVal.width;
  const [x, y, caption] = type === "pointerout" ? marks.at(-1)! : marks.reduce(
    (a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a,
  );
  const dot = svg.querySelector("circle")!;
  dot.setAttribute("cx", String(x));
  dot.setAttribute("cy", String(y));
  svg.lastElementChild!.textContent = caption;
}

const list = byId<HTMLSelectElement>("stage");
list.addEventListener("change", () => choose(list.value));
byId("graph").addEventListener("click", chooseIn);
byId("graph").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") chooseIn(event);
});
byId("curves").addEventListener("click", async ({ target }) => {
  if ((target as Element).id !== "all-curves") return;
  showAll = true;
  await update();
});
document.addEventListener("pointermove", mark);
document.addEventListener("pointerout", mark);

for (;;) {
  try {
    await update();
  } catch (error) {
    tell(
      error instanceof TypeError
        ? 'dash has stopped: start it again with "deno task dash"'
        : (error as Error).message,
    );
  }
  await new Promise((resolve) => setTimeout(resolve, PAUSE));
}

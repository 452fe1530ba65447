// The page of "deno task dash", without its types: asks for the state of the
// pipeline once a second, and shows it.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import type { Spec } from "vega";
import type { default as vegaEmbed, Result } from "vega-embed";
import type { ReportMessage } from "../../report/page_script.ts";
import type { PageContent, Point } from "./dash_sections.ts";

/** The global of vega-embed's script. */
const embed: typeof vegaEmbed = Reflect.get(globalThis, "vegaEmbed");

const PAUSE = 1000;

function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/** The stage whose log the user has chosen. */
let chosen = "";

const shown = new Map<string, string>();

/** A drawn curve, which stays when the section around it changes. */
interface Drawn {
  readonly element: HTMLElement;
  readonly view: Promise<Result["view"]>;
  /** Its points, as JSON. */
  points: string;
}

const curves = new Map<string, Drawn>();

/** Name of the data set of lossCurve(). */
const POINTS = "points";

const specification: Spec = await (await fetch("curve.json")).json();

/** Puts the curves into their places, and draws what is new of them. */
async function drawCurves(losses: PageContent["curves"]) {
  const places = document.querySelectorAll<HTMLElement>("[data-curve]");
  for (const place of places) {
    const stage = place.dataset.curve!;
    const points = losses[stage] ?? [];
    const drawn = curves.get(stage) ?? newCurve(place, points);
    curves.set(stage, drawn);
    if (place !== drawn.element) place.replaceWith(drawn.element);
    const text = JSON.stringify(points);
    if (drawn.points === text) continue;
    drawn.points = text;
    const view = await drawn.view;
    await view.data(POINTS, [...points]).resize().runAsync();
  }
}

function newCurve(element: HTMLElement, points: readonly Point[]): Drawn {
  const data = specification.data!.map((it) =>
    it.name === POINTS ? { ...it, values: [...points] } : it
  );
  const view = embed(element, { ...specification, data }, {
    mode: "vega",
    renderer: "svg",
    actions: false,
    // The page forbids eval.
    ast: true,
  }).then(({ view }) => view);
  return { element, view, points: JSON.stringify(points) };
}

/**
 * Puts HTML into its place unless it is there, so that tooltips stay. The focus
 * stays on the same stage, and a log at its end. A section without content is
 * hidden.
 */
function show(id: string, html: string) {
  if (shown.get(id) === html) return;
  shown.set(id, html);
  const parent = byId(id);
  const focused = parent.querySelector(":focus")?.getAttribute("data-stage");
  const isAtEnd = id === "log" &&
    parent.scrollTop + parent.clientHeight >= parent.scrollHeight - 8;
  const isOpen = parent.querySelector("details")?.open === true;
  parent.innerHTML = html;
  if (isOpen) parent.querySelector("details")!.open = true;
  if (isAtEnd) parent.scrollTop = parent.scrollHeight;
  if (focused) {
    parent.querySelector<SVGElement>(`[data-stage="${CSS.escape(focused)}"]`)
      ?.focus();
  }
  parent.closest("section")?.toggleAttribute("hidden", html === "");
}

async function update() {
  const asked = new URLSearchParams({ stage: chosen });
  const answer = await fetch(`state?${asked}`);
  if (!answer.ok) throw new Error(await answer.text());
  const content: PageContent = await answer.json();
  const { pipeline, stage, report, sections } = content;
  document.title = `${pipeline} - dash`;
  for (const [id, html] of Object.entries(sections)) show(id, html);
  await drawCurves(content.curves);
  byId<HTMLSelectElement>("stage").value = stage;
  if (report === undefined) return;
  // The version makes the browser load the report of a later run.
  const address = `report?${new URLSearchParams({ ...report })}`;
  const frame = byId<HTMLIFrameElement>("report");
  if (frame.getAttribute("src") !== address) frame.src = address;
}

async function chooseIn({ target }: Event) {
  const stage = (target as Element).closest("[data-stage]");
  if (stage !== null) await choose(stage.getAttribute("data-stage")!);
}

async function choose(id: string) {
  chosen = id;
  await update();
}

// The report says how high it is, and where a link within it leads: the page
// around it scrolls alone.
addEventListener("message", ({ source, data }: MessageEvent<ReportMessage>) => {
  const frame = byId<HTMLIFrameElement>("report");
  if (source !== frame.contentWindow) return;
  if ("height" in data) frame.style.height = `${data.height}px`;
  else scrollBy({ top: frame.getBoundingClientRect().top + data.top });
});

const list = byId<HTMLSelectElement>("stage");
list.addEventListener("change", () => choose(list.value));
byId("graph").addEventListener("click", chooseIn);
byId("graph").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") chooseIn(event);
});

for (;;) {
  try {
    await update();
  } catch (error) {
    shown.delete("problem");
    byId("problem").textContent = error instanceof TypeError
      ? 'dash has stopped: start it again with "deno task dash"'
      : (error as Error).message;
  }
  await new Promise((resolve) => setTimeout(resolve, PAUSE));
}

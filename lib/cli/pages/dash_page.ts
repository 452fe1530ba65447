// The page of "deno task dash", without its types: asks for the state of the
// pipeline once a second, and shows it.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import type { PageContent } from "./dash_sections.ts";

const PAUSE = 1000;

function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/** The stage whose log the user has chosen. */
let chosen = "";

const shown = new Map<string, string>();

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
  const { pipeline, stage, report, sections }: PageContent = await answer
    .json();
  document.title = `${pipeline} - dash`;
  for (const [id, html] of Object.entries(sections)) show(id, html);
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

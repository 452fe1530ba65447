// A page on which an adapter writes what follows a text, computed by the
// server: that of "deno task try", of which esbuild makes one file.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import type { About } from "./page.ts";

/** Facts about the adapter, with all its ranks. */
export interface AboutWriting extends About {
  readonly ranks: readonly number[];
}

/** Milliseconds after the last key before the continuation is written. */
const PAUSE = 500;

function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

const about: AboutWriting = await (await fetch("about.json")).json();
const { pipeline, stage, ranks, recommended } = about;
const text = byId<HTMLTextAreaElement>("text");
const slider = byId<HTMLInputElement>("rank");
const answer = document.createElement("p");
answer.style.whiteSpace = "pre-wrap";
byId("answers").replaceWith(answer);
document.title = `${pipeline} - try`;
byId("title").textContent = pipeline;
byId("about").textContent =
  `The adapter of ${stage}, computed on this machine: no text leaves it.`;
text.labels[0]!.textContent = "Text to continue";
byId("ranks").hidden = ranks.length === 1;
slider.max = String(ranks.length - 1);
const first = ranks.indexOf(recommended ?? NaN);
slider.value = first < 0 ? slider.max : String(first);

let current = new AbortController();

/** Shows what is written, as it comes; a later call ends it. */
async function show(): Promise<void> {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const rank = ranks[slider.valueAsNumber]!;
  const mark = rank === recommended ? " (recommended)" : "";
  byId("chosen").textContent = `${rank}${mark}`;
  slider.setAttribute("aria-valuetext", `${rank}${mark}`);
  byId("problem").hidden = true;
  answer.textContent = "";
  const isEmpty = text.value.trim() === "";
  byId("status").textContent = isEmpty ? "Enter a text" : "Writing";
  if (isEmpty) return;
  const began = performance.now();
  let tokens = 0;
  const tell = (what: string) => {
    const seconds = (performance.now() - began) / 1000;
    byId("status").textContent =
      `${what} ${tokens} tokens at rank ${rank}, in ${seconds.toFixed(1)} s`;
  };
  const query = new URLSearchParams({ text: text.value, rank: `${rank}` });
  try {
    const { body } = await fetch(`written?${query}`, { signal });
    let rest = "";
    for await (const part of body!.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + part).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const { written, isDone, problem } = JSON.parse(line);
        if (problem !== undefined) throw new Error(problem);
        if (isDone) return tell("Wrote");
        answer.textContent = written;
        tokens++;
        tell("Writing,");
      }
    }
  } catch (error) {
    if (signal.aborted) return;
    byId("status").textContent = "";
    byId("problem").hidden = false;
    byId("problem").textContent = (error as Error).message;
  }
}

let timer: ReturnType<typeof setTimeout> | undefined;
text.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(show, PAUSE);
});
slider.addEventListener("input", show);
await show();

// A page on which an adapter writes what follows a text, computed by the
// server: that of "deno task try", of which esbuild makes one file.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import type { Continuation } from "../problems/continuation.ts";
import {
  type About,
  byId,
  chosenRank,
  showAbout,
  showProblem,
  showRanks,
  slider,
} from "./rank_page.ts";

/** Facts about the adapter, with all its ranks. */
export interface AboutWriting extends About {
  readonly ranks: readonly number[];
}

/** Milliseconds after the last key before the continuation is written. */
const PAUSE = 500;

const about: AboutWriting = await (await fetch("about.json")).json();
const { ranks, recommended } = about;
const text = byId<HTMLTextAreaElement>("text");
const answer = document.createElement("p");
answer.style.whiteSpace = "pre-wrap";
byId("answers").replaceWith(answer);
showAbout(about, "on this machine");
text.labels[0]!.textContent = "Text to continue";
showRanks(ranks, recommended);

let current = new AbortController();

/** Shows what is written, as it comes; a later call ends it. */
async function show(): Promise<void> {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const rank = chosenRank(ranks, recommended);
  showProblem(undefined);
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
        const message: Continuation = JSON.parse(line);
        if ("problem" in message) throw new Error(message.problem);
        if ("isDone" in message) return tell("Wrote");
        answer.textContent = message.written;
        tokens++;
        tell("Writing,");
      }
    }
  } catch (error) {
    if (signal.aborted) return;
    byId("status").textContent = "";
    showProblem(error);
  }
}

let timer: ReturnType<typeof setTimeout> | undefined;
text.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(show, PAUSE);
});
slider.addEventListener("input", show);
await show();

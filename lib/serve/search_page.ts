// A page that ranks the lines of a user by a query, in the browser: that of
// "deno task try" for an adapter of embeddings. esbuild makes one file of it.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { load, ranking } from "./embedder.ts";
import type { About } from "./page.ts";

/** Milliseconds after the last key before the lines are ranked. */
const PAUSE = 150;

/** Texts per batch. Newer input stops the page after the current batch. */
const BATCH = 8;

function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

function tell(problem: unknown) {
  byId("problem").hidden = problem === undefined;
  byId("problem").textContent = problem === undefined
    ? ""
    : (problem as Error).message;
}

const query = byId<HTMLTextAreaElement>("text");
const lines = byId<HTMLTextAreaElement>("pair");
const slider = byId<HTMLInputElement>("rank");

async function start() {
  const about: About = await (await fetch("about.json")).json();
  const { pipeline, stage, recommended } = about;
  document.title = `${pipeline} - try`;
  byId("title").textContent = pipeline;
  query.labels[0]!.textContent = "Query";
  query.rows = 1;
  lines.labels[0]!.textContent = "Texts to rank, one a line";
  lines.rows = 8;
  byId("second").hidden = false;
  const embed = await load("model");
  const { ranks } = embed;
  byId("about").textContent =
    `The adapter of ${stage}, computed in this browser: no text leaves it.`;
  byId("ranks").hidden = ranks.length === 1;
  slider.max = String(ranks.length - 1);
  byId("ticks").append(...ranks.map((rank, i) => {
    const tick = document.createElement("option");
    tick.value = String(i);
    tick.label = String(rank);
    return tick;
  }));
  const first = ranks.findIndex((it) => it === recommended);
  slider.value = first < 0 ? slider.max : String(first);

  /** Embeddings of all texts that were on the page, by rank and text. */
  const embeddings = new Map<string, Float32Array>();
  let isRunning = false;
  let isStale = false;

  /** Embeds what is not embedded yet; gives false if newer input stopped it. */
  async function embedAll(
    texts: readonly string[],
    rank: number,
  ): Promise<boolean> {
    const missing = [...new Set(texts)]
      .filter((text) => !embeddings.has(`${rank} ${text}`));
    for (let start = 0; start < missing.length; start += BATCH) {
      const batch = missing.slice(start, start + BATCH);
      const ofBatch = await embed(batch, { rank });
      for (const [i, text] of batch.entries()) {
        embeddings.set(`${rank} ${text}`, ofBatch[i]!);
      }
      // Lets the browser take what is typed meanwhile.
      await new Promise((resolve) => setTimeout(resolve));
      if (isStale) return false;
      const done = start + batch.length;
      byId("status").textContent = `${done} of ${missing.length} texts`;
    }
    return true;
  }

  async function show() {
    const rank = ranks[slider.valueAsNumber]!;
    const mark = rank === recommended ? " (recommended)" : "";
    byId("chosen").textContent = `${rank}${mark}`;
    slider.setAttribute("aria-valuetext", `${rank}${mark}`);
    const text = query.value.trim();
    const texts = lines.value.split("\n").map((line) => line.trim())
      .filter((line) => line !== "");
    if (text === "" || texts.length === 0) {
      byId("answers").replaceChildren();
      byId("status").textContent = text === ""
        ? "Enter a query"
        : "Enter texts to rank";
      return;
    }
    const began = performance.now();
    if (!await embedAll([text, ...texts], rank)) return;
    const embeddingOf = (it: string) => embeddings.get(`${rank} ${it}`)!;
    const ranked = ranking(embeddingOf(text), texts.map(embeddingOf));
    const time = `${Math.ceil(performance.now() - began)} ms`;
    const count = `${texts.length} text${texts.length > 1 ? "s" : ""}`;
    byId("status").textContent = `${count} at rank ${rank}, in ${time}`;
    byId("answers").replaceChildren(
      rowOf("th", ["Text", "Cosine"]),
      ...ranked.map(({ index, cosine }) => {
        const row = rowOf("td", [texts[index]!, cosine.toFixed(3)]);
        const bar = document.createElement("progress");
        bar.value = Math.max(0, cosine);
        // The number is beside it.
        bar.ariaHidden = "true";
        row.lastElementChild!.prepend(bar);
        return row;
      }),
    );
  }

  async function update() {
    isStale = isRunning;
    if (isRunning) return;
    isRunning = true;
    do {
      isStale = false;
      try {
        await show();
        tell(undefined);
      } catch (error) {
        byId("status").textContent = "";
        byId("answers").replaceChildren();
        tell(error);
      }
    } while (isStale);
    isRunning = false;
  }

  let timer: ReturnType<typeof setTimeout> | undefined;
  for (const box of [query, lines]) {
    box.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(update, PAUSE);
    });
  }
  slider.addEventListener("input", update);
  await update();
}

function rowOf(kind: "th" | "td", texts: readonly string[]): HTMLElement {
  const row = document.createElement("tr");
  row.append(...texts.map((text) => {
    const cell = document.createElement(kind);
    if (kind === "th") cell.setAttribute("scope", "col");
    cell.textContent = text;
    return cell;
  }));
  return row;
}

await start().catch((error) => {
  byId("status").hidden = true;
  tell(error);
});

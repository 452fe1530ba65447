// A page that ranks the lines of a user by a query, in the browser: that of
// "deno task try" for an adapter of embeddings. esbuild makes one file of it.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { load, ranking } from "./embedder.ts";
import {
  type About,
  answerInputs,
  byId,
  chosenRank,
  rowOf,
  showAbout,
  showProblem,
  showRanks,
} from "./rank_page.ts";

/** Texts per batch. Newer input stops the page after the current batch. */
const BATCH = 8;

const query = byId<HTMLTextAreaElement>("text");
const lines = byId<HTMLTextAreaElement>("pair");

async function start() {
  const about: About = await (await fetch("about.json")).json();
  const { recommended } = about;
  showAbout(about, "in this browser");
  query.labels[0]!.textContent = "Query";
  query.rows = 1;
  lines.labels[0]!.textContent = "Texts to rank, one a line";
  lines.rows = 8;
  byId("second").hidden = false;
  const embed = await load("model");
  const { ranks } = embed;
  showRanks(ranks, recommended);

  /** Embeddings of all texts that were on the page, by rank and text. */
  const embeddings = new Map<string, Float32Array>();

  /** Embeds what is not embedded yet; gives false if newer input stopped it. */
  async function embedAll(
    texts: readonly string[],
    rank: number,
    isStale: () => boolean,
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
      if (isStale()) return false;
      const done = start + batch.length;
      byId("status").textContent = `${done} of ${missing.length} texts`;
    }
    return true;
  }

  async function show(isStale: () => boolean) {
    const rank = chosenRank(ranks, recommended);
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
    if (!await embedAll([text, ...texts], rank, isStale)) return;
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

  await answerInputs([query, lines], show);
}

await start().catch((error) => {
  byId("status").hidden = true;
  showProblem(error);
});

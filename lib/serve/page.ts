// A page that classifies texts as they are typed, in the browser: that of "deno
// task try", of which esbuild makes one file.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { type Answer, type Input, load } from "./classifier.ts";

/** Facts about the adapter, which the server sends as `about.json`. */
export interface About {
  readonly pipeline: string;
  /** The stage that made the adapter. */
  readonly stage: string;
  /** Names of the columns of the one or two texts of its examples. */
  readonly columns: readonly string[];
  /** Rank that the report on the adapter recommends, if it recommends one. */
  readonly recommended?: number | undefined;
}

/** Milliseconds after the last key before the text is classified. */
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

const text = byId<HTMLTextAreaElement>("text");
const pair = byId<HTMLTextAreaElement>("pair");
const slider = byId<HTMLInputElement>("rank");

async function start() {
  const about: About = await (await fetch("about.json")).json();
  const { pipeline, stage, columns, recommended } = about;
  const isPair = columns.length > 1;
  document.title = `${pipeline} - try`;
  byId("title").textContent = pipeline;
  byId("second").hidden = !isPair;
  byId("answers").className = isPair ? "pairs" : "";
  const classify = await load("model");
  const { ranks } = classify;
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

  let isRunning = false;
  let isStale = false;

  async function show() {
    const rank = ranks[slider.valueAsNumber]!;
    const mark = rank === recommended ? " (recommended)" : "";
    byId("chosen").textContent = `${rank}${mark}`;
    slider.setAttribute("aria-valuetext", `${rank}${mark}`);
    const inputs = typedInputs(isPair);
    const began = performance.now();
    const answers: Answer[] = [];
    for (let start = 0; start < inputs.length; start += BATCH) {
      const batch = inputs.slice(start, start + BATCH);
      answers.push(...await classify(batch, { rank }));
      // Lets the browser take what is typed meanwhile.
      await new Promise((resolve) => setTimeout(resolve));
      if (isStale) return;
      byId("status").textContent =
        `${answers.length} of ${inputs.length} texts`;
    }
    const time = `${Math.ceil(performance.now() - began)} ms`;
    byId("status").textContent = answers.length === 0
      ? "Enter a text"
      : `${inWords(answers)} at rank ${rank}, in ${time}`;
    const shown = rowsOf(inputs, answers, isPair ? columns : ["Text"]);
    byId("answers").replaceChildren(...answers.length === 0 ? [] : shown);
  }

  /** The table of answers: of a single text, all its classes or labels. */
  function rowsOf(
    inputs: readonly Input[],
    answers: readonly Answer[],
    names: readonly string[],
  ): HTMLElement[] {
    const isSingle = answers.length === 1;
    switch (classify.problem) {
      case "tokens":
        return rowsOfEntities(inputs as string[], answers);
      case "classification":
        return isSingle
          ? rowsOfClasses(answers[0]!, "Class")
          : rowsOfTexts(inputs, answers, [...names, "Class", "Probability"]);
      case "multi-label":
        return isSingle
          ? rowsOfClasses(answers[0]!, "Label")
          : rowsOfTexts(inputs, answers, [...names, "Labels"]);
      case "regression":
        return rowsOfTexts(inputs, answers, [...names, "Score"]);
    }
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
  for (const box of [text, pair]) {
    box.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(update, PAUSE);
    });
  }
  slider.addEventListener("input", update);
  await update();
}

/** The texts, or pairs, one a line. */
function typedInputs(isPair: boolean): Input[] {
  const linesOf = ({ value }: HTMLTextAreaElement) =>
    value.split("\n").map((line) => line.trim()).filter((it) => it !== "");
  const texts = linesOf(text);
  const pairs = linesOf(pair);
  if (!isPair) return texts;
  if (texts.length === pairs.length) {
    return texts.map((text, i) => ({ text, pair: pairs[i]! }));
  }
  // The other one is still to be written.
  if (texts.length === 0 || pairs.length === 0) return [];
  throw new Error(
    `There are ${texts.length} first and ${pairs.length} second texts: write as many lines of each`,
  );
}

/**
 * `positive, 98.3 %`, `joy 91.2 %, hope 60.3 %`, `score 3.214`,
 * `12 texts: 8 × positive, 4 × negative` or `1 text: 2 × person`.
 */
function inWords(answers: readonly Answer[]): string {
  const [first, ...others] = answers as [Answer, ...Answer[]];
  const { label, score, entities } = first;
  if (others.length === 0 && entities === undefined) {
    if (first.labels !== undefined) return labelsOf(first);
    return label === undefined
      ? `Score ${score.toFixed(3)}`
      : `${label}, ${percent(score)}`;
  }
  const labels = answers.flatMap(({ label, labels, entities }) =>
    entities?.map(({ label }) => label) ?? labels ?? label ?? []
  );
  const counts = Object.entries(Object.groupBy(labels, (it) => it))
    .map(([label, its]) => `${its!.length} × ${label}`).join(", ");
  const nothing = first.labels === undefined ? "nothing found" : "no label";
  const summary = counts || ((entities ?? first.labels) && nothing);
  return `${answers.length} text${others.length > 0 ? "s" : ""}${
    summary ? `: ${summary}` : ""
  }`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** The predicted ones of several labels: `joy 91.2 %, hope 60.3 %`. */
function labelsOf({ labels = [], scores }: Answer): string {
  const shown = labels.map((name) => `${name} ${percent(scores[name]!)}`);
  return shown.join(", ") || "no label";
}

/** All classes of a text, or all labels, those that are predicted in bold. */
function rowsOfClasses(
  { scores, labels = [] }: Answer,
  title: "Class" | "Label",
): HTMLElement[] {
  const shares = Object.entries(scores).sort(([, a], [, b]) => b - a);
  return [
    rowOf("th", [title, "Probability"]),
    ...shares.map(([name, share]) => {
      const row = rowOf("td", [name, percent(share)]);
      if (labels.includes(name)) {
        const strong = document.createElement("strong");
        strong.textContent = name;
        row.firstElementChild!.replaceChildren(strong);
      }
      const bar = document.createElement("progress");
      bar.value = share;
      // The number is beside it.
      bar.ariaHidden = "true";
      row.lastElementChild!.prepend(bar);
      return row;
    }),
  ];
}

/** Hue of each type of entity, in the order in which they are found first. */
const hues = new Map<string, number>();

/** Steps between hues: the golden angle, so that neighbours differ most. */
const GOLDEN_ANGLE = 137.5;

function hueOf(type: string): number {
  const hueSoFar = hues.get(type);
  if (hueSoFar !== undefined) return hueSoFar;
  const hue = (210 + GOLDEN_ANGLE * hues.size) % 360;
  hues.set(type, hue);
  return hue;
}

/** Texts with what is found in them marked, in a colour for each type. */
function rowsOfEntities(
  texts: readonly string[],
  answers: readonly Answer[],
): HTMLElement[] {
  const rows = answers.map(({ entities }, i) => {
    let last = 0;
    const parts = entities!.flatMap(({ start, end, label, probability }) => {
      const before = texts[i]!.slice(last, start);
      const mark = document.createElement("mark");
      const type = document.createElement("small");
      type.textContent = `${label}, ${percent(probability)}`;
      mark.style.setProperty("--hue", String(hueOf(label)));
      mark.append(texts[i]!.slice(start, end), " ", type);
      last = end;
      return [before, mark];
    });
    const row = rowOf("td", [""]);
    row.firstElementChild!.append(...parts, texts[i]!.slice(last));
    return row;
  });
  return [rowOf("th", ["Text"]), ...rows];
}

function rowsOfTexts(
  inputs: readonly Input[],
  answers: readonly Answer[],
  columns: readonly string[],
): HTMLElement[] {
  const rows = answers.map((answer, i) => {
    const input = inputs[i]!;
    return rowOf("td", [
      ...(typeof input === "string" ? [input] : [input.text, input.pair]),
      ...cellsOf(answer),
    ]);
  });
  return [rowOf("th", columns), ...rows];
}

/** What is predicted of a text: a class, labels or a score. */
function cellsOf(answer: Answer): string[] {
  const { label, labels, score } = answer;
  if (labels !== undefined) return [labelsOf(answer)];
  return label === undefined ? [score.toFixed(3)] : [label, percent(score)];
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

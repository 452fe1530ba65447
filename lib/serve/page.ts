// A page that classifies texts as they are typed, in the browser: that of "deno
// task try", of which esbuild makes one file.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { type Answer, type Input, load } from "./classifier.ts";
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

const text = byId<HTMLTextAreaElement>("text");
const pair = byId<HTMLTextAreaElement>("pair");

async function start() {
  const about: About = await (await fetch("about.json")).json();
  const { columns, recommended } = about;
  const isPair = columns.length > 1;
  showAbout(about, "in this browser");
  byId("second").hidden = !isPair;
  byId("answers").className = isPair ? "pairs" : "";
  const classify = await load("model");
  const { ranks } = classify;
  showRanks(ranks, recommended);

  async function show(isStale: () => boolean) {
    const rank = chosenRank(ranks, recommended);
    const inputs = typedInputs(isPair);
    const began = performance.now();
    const answers: Answer[] = [];
    for (let start = 0; start < inputs.length; start += BATCH) {
      const batch = inputs.slice(start, start + BATCH);
      answers.push(...await classify(batch, { rank }));
      // Lets the browser take what is typed meanwhile.
      await new Promise((resolve) => setTimeout(resolve));
      if (isStale()) return;
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

  await answerInputs([text, pair], show);
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

await start().catch((error) => {
  byId("status").hidden = true;
  showProblem(error);
});

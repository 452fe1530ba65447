// What the pages of "deno task try" share: their elements, the slider of ranks,
// and answers that follow what is typed.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

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

/** The element with an id, which the page has. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

export const slider = byId<HTMLInputElement>("rank");

/** Shows what is wrong, or hides it if that is undefined. */
export function showProblem(problem: unknown): void {
  byId("problem").hidden = problem === undefined;
  byId("problem").textContent = problem === undefined
    ? ""
    : (problem as Error).message;
}

/** Names the adapter, and where its texts are computed. */
export function showAbout({ pipeline, stage }: About, device: string): void {
  document.title = `${pipeline} - try`;
  byId("title").textContent = pipeline;
  byId("about").textContent =
    `The adapter of ${stage}, computed ${device}: no text leaves it.`;
}

/** Puts ranks on the slider, at the recommended one, or else the last. */
export function showRanks(
  ranks: readonly number[],
  recommended: number | undefined,
): void {
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
}

/** The rank at which the slider is; it is shown beside it. */
export function chosenRank(
  ranks: readonly number[],
  recommended: number | undefined,
): number {
  const rank = ranks[slider.valueAsNumber]!;
  const mark = rank === recommended ? " (recommended)" : "";
  byId("chosen").textContent = `${rank}${mark}`;
  slider.setAttribute("aria-valuetext", `${rank}${mark}`);
  return rank;
}

/** Milliseconds after the last key before the input is answered. */
const PAUSE = 150;

/**
 * Answers what is in boxes now, after each input, and when the slider moves.
 *
 * @param answer Called once at a time; it stops when newer input makes its
 * answer stale.
 */
export async function answerInputs(
  boxes: readonly HTMLElement[],
  answer: (isStale: () => boolean) => Promise<void>,
): Promise<void> {
  let isRunning = false;
  let isStale = false;
  async function update() {
    isStale = isRunning;
    if (isRunning) return;
    isRunning = true;
    do {
      isStale = false;
      try {
        await answer(() => isStale);
        showProblem(undefined);
      } catch (error) {
        byId("status").textContent = "";
        byId("answers").replaceChildren();
        showProblem(error);
      }
    } while (isStale);
    isRunning = false;
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  for (const box of boxes) {
    box.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(update, PAUSE);
    });
  }
  slider.addEventListener("input", update);
  await update();
}

/** A row of the table of answers. */
export function rowOf(
  kind: "th" | "td",
  texts: readonly string[],
): HTMLElement {
  const row = document.createElement("tr");
  row.append(...texts.map((text) => {
    const cell = document.createElement(kind);
    if (kind === "th") cell.setAttribute("scope", "col");
    cell.textContent = text;
    return cell;
  }));
  return row;
}

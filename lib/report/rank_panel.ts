import { capitalized, escapeHtml, metricTitle } from "./format.ts";
import { methodTitle, ranksOf } from "./methods.ts";
import type { Curves } from "./report.ts";
import { scoreText } from "./tables.ts";

/** Number of bytes of a value in an adapter's file. */
const VALUE_BYTES = 4;

/**
 * HTML that shows one rank at a time: a button for each rank, and for each rank
 * the scores, the size and the export command of each method. The script of the
 * page switches ranks. Empty if no method has ranks.
 */
export function rankPanel(curves: Curves): string {
  const methods = curves.methods.filter(({ role }) => role !== "bound");
  if (methods.length === 0) return "";
  const ranks = ranksOf(methods);
  const picked = curves.verdict?.recommended.rank ?? ranks.at(-1);
  const buttons = ranks.map((it) =>
    `<button type="button"${it === picked ? " data-picked" : ""}>${it}</button>`
  );
  const shown = ranks.map((rank) => {
    const others = methods.filter(({ ranks }) =>
      ranks.every((it) => it.rank !== rank)
    );
    const missing = others.length === 0
      ? ""
      : quiet(`Not run: ${others.map(methodTitle).join(", ")}`);
    const texts = methods.map((it) => methodAt(it, rank, curves));
    return `<div hidden><h3>Rank ${rank}</h3>${texts.join("")}${missing}</div>`;
  });
  return `<section class="card ranks" aria-label="One rank" hidden>
<div class="choices" role="group" aria-label="Rank">${buttons.join("")}</div>
<div aria-live="polite">${shown.join("")}</div>
</section>`;
}

function quiet(text: string): string {
  return `<p class="quiet">${escapeHtml(text)}</p>`;
}

/** One method at a rank; empty if it was not run. */
function methodAt(
  method: Curves["methods"][number],
  rank: number,
  curves: Curves,
): string {
  const { role, ranks, recommendation, size, trainings = [] } = method;
  const score = ranks.find((it) => it.rank === rank);
  if (score === undefined) return "";
  const { metrics, verdict, epoch } = curves;
  const isRecommended = role === "candidate" && recommendation?.rank === rank &&
    verdict?.kind !== "nothing-learnt";
  const tag = isRecommended ? ' <span class="tag">recommended</span>' : "";
  const scores = metrics.map((metric, i) => {
    const text = scoreText(score, metric, i === 0);
    const title = capitalized(metricTitle(metric, curves));
    return `<p>${escapeHtml(title)}: ${text}</p>`;
  });
  // Any adapter that has the rank will do; a mean over tasks has none.
  const trained = trainings.find((it) => it.rank >= rank);
  const options = epoch === "best" ? ["--epoch", epoch] : [];
  const words = trained && escapeHtml(
    JSON.stringify([trained.stage, "--rank", String(rank), ...options]),
  );
  return [
    `<h4>${escapeHtml(methodTitle(method))}${tag}</h4>`,
    ...scores,
    size ? quiet(sizeText(rank * size.perRank, size.others)) : "",
    words ? `<div class="command" data-words="${words}"></div>` : "",
  ].join("");
}

function sizeText(values: number, others: number): string {
  const bytes = VALUE_BYTES * (values + others);
  const size = bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : `${(bytes / 1e6).toPrecision(3)} MB`;
  const inRank = values.toLocaleString("en");
  const inHead = others.toLocaleString("en");
  return `${size}: ${inRank} values and ${inHead} of the head`;
}

/**
 * The sections of the page of `dash`, as HTML that its script puts into place.
 */
import { signOf } from "../../problems/registry.ts";
import { escapeHtml } from "../../report/format.ts";
import type {
  Follower,
  PipelineState,
  RankTable,
  StageState,
} from "./dash_state.ts";

/** A loss of a training. */
export interface Point {
  readonly step: number;
  readonly loss: number;
}

/** Number of curves that are not folded. */
const FEW_CURVES = 12;

/** What the page shows. */
export interface PageContent {
  readonly pipeline: string;
  /** The stage whose log is shown. */
  readonly stage: string;
  /** The first report that is up to date. */
  readonly report: PipelineState["reports"][number] | undefined;
  /**
   * HTML by the id of the element that shows it; empty where there is nothing
   * to show.
   */
  readonly sections: Readonly<Record<string, string>>;
  /** The losses of trainings by the ids of their stages. */
  readonly curves: Readonly<Record<string, readonly Point[]>>;
}

/**
 * The present state of a pipeline, for the page.
 *
 * @param chosen Id of the stage whose log the user has chosen.
 */
export async function pageContent(
  follower: Follower,
  chosen: string,
): Promise<PageContent> {
  const { pipeline, stages, left, graph, tables, reports, problem = "" } =
    await follower.state();
  // The log of the chosen one, else of one that runs, has failed, or is done.
  const { id: stage = "" } = stages.find(({ id }) => id === chosen) ??
    stages.find(({ state }) => state === "running") ??
    stages.find(({ state }) => state === "failed") ??
    stages.findLast(({ state }) => state === "done") ??
    stages[0] ?? {};
  const losses: Record<string, readonly Point[]> = {};
  for (const { id } of stages) {
    const { points = [] } = follower.log(id) ?? {};
    const curve = points.map(([step, loss]) => ({ step, loss }));
    if (curve.length > 1) losses[id] = thinned(curve);
  }
  const curves = stages
    .filter(({ id, state }) => state !== "running" && Object.hasOwn(losses, id))
    .map(({ id }) => cardHtml(id, curvePlace(id)));
  const cards = (some: readonly string[]) =>
    some.length === 0 ? "" : `<div class="cards">${some.join("")}</div>`;
  const more = cards(curves.slice(FEW_CURVES));
  const { lines = [] } = follower.log(stage) ?? {};
  const sections = {
    title: escapeHtml(pipeline || "dash"),
    summary: summaryOf(stages) + (left === undefined ? "" : `, ${left}`),
    problem: escapeHtml(problem),
    graph,
    running: stages.map((it) => {
      if (it.running === undefined) return "";
      const { time, text = "", share } = it.running;
      const value = share === undefined ? "" : ` value="${share}"`;
      const label = escapeHtml(it.id);
      const progress = escapeHtml(text);
      return cardHtml(
        it.id,
        `<progress max="1" aria-label="${label}"${value}></progress><div class="quiet">${time}</div><div class="quiet">${progress}</div>${
          Object.hasOwn(losses, it.id) ? curvePlace(it.id) : ""
        }`,
      );
    }).join(""),
    "report-links": reports.map(({ stage }) => {
      const address = `report?stage=${encodeURIComponent(stage)}`;
      const name = escapeHtml(stage);
      return `<a href="${address}" target="_blank">Open ${name} in a new tab</a> `;
    }).join(""),
    scores: tables.map(tableHtml).join(""),
    curves: cards(curves.slice(0, FEW_CURVES)) +
      (more && `<details><summary>More curves</summary>${more}</details>`),
    stage: stages.map(({ id }) => `<option>${escapeHtml(id)}</option>`)
      .join(""),
    about: escapeHtml(follower.about(stage)),
    log: escapeHtml(lines.join("\n") || "No log yet"),
  };
  return {
    pipeline,
    stage,
    report: reports[0],
    sections,
    curves: losses,
  };
}

/** `3 of 12 stages done, 1 running, 8 waiting` */
function summaryOf(stages: readonly StageState[]): string {
  const count = (it: StageState["state"]) =>
    stages.filter(({ state }) => state === it).length;
  const others = (["running", "failed", "waiting"] as const)
    .flatMap((it) => count(it) > 0 ? `${count(it)} ${it}` : []);
  const done = `${count("done")} of ${stages.length} stages done`;
  return [done, ...others].join(", ");
}

function cardHtml(title: string, html: string): string {
  return `<div class="card"><h3>${escapeHtml(title)}</h3>${html}</div>`;
}

function tableHtml({ task, metric, columns }: RankTable): string {
  const ranks = [
    ...new Set(columns.flatMap(({ scores }) => Object.keys(scores))),
  ].map(Number).sort((a, b) => a - b);
  const titles = columns.map(({ title, done, total }) => {
    const name = escapeHtml(title);
    return `<th scope="col">${name}<span>${done} of ${total} results</span></th>`;
  }).join("");
  const sign = signOf(metric);
  const best = columns.map(({ scores }) =>
    sign * Math.max(...Object.values(scores).map((it) => sign * it))
  );
  const rows = ranks.map((rank) => {
    const cells = columns.map(({ scores: { [rank]: score } }, i) => {
      const text = score?.toFixed(4) ?? "";
      return `<td>${score === best[i] ? `<b>${text}</b>` : text}</td>`;
    });
    return `<tr><th scope="row">${rank}</th>${cells.join("")}</tr>`;
  }).join("");
  const heading = escapeHtml(`${task}: ${metric}`);
  return `<div class="scroll"><h3>${heading}</h3><table><thead><tr><th scope="col">Rank</th>${titles}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

/** The place of the curve of a stage, which the script of the page draws. */
function curvePlace(id: string): string {
  return `<div class="chart" data-curve="${escapeHtml(id)}"></div>`;
}

/** Maximum points of a curve: some of each two pixels. */
const MAX_POINTS = 200;

/** Points at equal distances, the last one among them. */
function thinned(points: readonly Point[]): readonly Point[] {
  const every = Math.ceil(points.length / MAX_POINTS);
  return points.filter((_, i) => (points.length - 1 - i) % every === 0);
}

/**
 * The sections of the page of `dash`, as HTML that its script puts into place.
 */
import { signOf } from "../../problems/registry.ts";
import { escapeHtml } from "../../report/format.ts";
import {
  type Follower,
  METRIC,
  type PipelineState,
  type RankTable,
  type StageState,
} from "./dash_state.ts";

type Point = readonly [step: number, value: number];

/** Number of curves that are not folded. */
const FEW_CURVES = 12;

const CURVE = { width: 300, height: 110, left: 40, bottom: 16 } as const;

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
  const curveOf = ({ id }: StageState) => {
    const { points = [] } = follower.log(id) ?? {};
    return points.length > 1 ? curve(points) : "";
  };
  const curves = stages.filter(({ state }) => state !== "running")
    .flatMap((it) => {
      const drawn = curveOf(it);
      return drawn === "" ? [] : cardHtml(it.id, drawn);
    });
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
          curveOf(it)
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

/**
 * A curve with its axes, at most a point per pixel, each of which has its value
 * as a tooltip.
 */
function curve(all: readonly Point[]): string {
  const { width, height, left, bottom } = CURVE;
  const every = Math.ceil(all.length / (width - left));
  const points = all.filter((_, i) => (all.length - 1 - i) % every === 0);
  const values = points.map(([, value]) => value);
  const [first, start] = points[0]!;
  const [last, end] = points.at(-1)!;
  const low = Math.min(...values);
  const high = Math.max(...values);
  const base = height - bottom;
  const marks = points.map(([step, value]) => {
    const x = left + (width - left - 4) * (step - first) / (last - first || 1);
    const y = base - (base - 8) * (value - low) / (high - low || 1);
    return [
      Number(x.toFixed(1)),
      Number(y.toFixed(1)),
      `step ${step}: ${METRIC} ${value.toFixed(4)}`,
    ] as const;
  });
  const dots = marks.map(([x, y, caption]) =>
    `<circle r="3" cx="${x}" cy="${y}"><title>${caption}</title></circle>`
  ).join("");
  const line = marks.map(([x, y]) => `${x} ${y}`).join("L");
  const from = start.toFixed(4);
  const to = end.toFixed(4);
  const most = high.toPrecision(3);
  const least = low.toPrecision(3);
  const right = width - 4;
  const foot = height - 3;
  const [, , caption] = marks.at(-1)!;
  return `<svg class="graph curve" viewBox="0 0 ${width} ${height}" role="img" aria-label="${METRIC} from ${from} at step ${first} to ${to} at step ${last}"><line x1="${left}" x2="${right}" y1="${base}" y2="${base}"/><text class="quiet" y="12">${most}</text><text class="quiet" y="${base}">${least}</text><path d="M${line}"/>${dots}<text class="quiet" x="${right}" y="${foot}" text-anchor="end">${caption}</text></svg>`;
}

import { shellWord } from "../../files/shell_word.ts";
import { thisHost } from "../../engine/install/host.ts";
import { type Graph, groupStages } from "../../pipeline/graph.ts";
import type { Event } from "../../scheduler/events.ts";
import {
  escapeHtml,
  folded,
  scrolled,
  tableHtml,
} from "../../report/format.ts";
import {
  type RunFacts,
  withFacts,
  withoutFacts,
} from "../../report/run_facts.ts";
import { keepAside, visibleFolder } from "../../scheduler/visible.ts";
import { digest } from "../../files/digest.ts";
import { writeDurably } from "../../files/files.ts";
import { join } from "../../files/paths.ts";
import { linkFingerprint } from "../../files/fingerprints.ts";
import type { Store } from "../../store/store.ts";
import { type Arguments, asTyped } from "../arguments/arguments.ts";
import { givenWords, outOf, PROJECT } from "../arguments/options.ts";
import { duration } from "../terminal/messages.ts";
import { barContent, stageGraph } from "./stage_graph.ts";

/** A result of a run. */
export interface UpToDate {
  readonly outcome: (Event & { type: "finished" })["outcome"];
  readonly key: string;
}

/**
 * Writes the pages of reports: each is the `report.html` of a stage with the
 * facts of the run.
 *
 * @param pages Paths of the pages by the id of the stage.
 * @param stages All stages of the run by id.
 * @param emit Called if a file of the user had the place of a page and was
 * moved aside.
 */
export async function writePages(
  args: Arguments,
  pages: ReadonlyMap<string, string>,
  stages: ReadonlyMap<string, UpToDate>,
  graph: Graph,
  store: Store,
  emit: (event: Event) => void,
): Promise<void> {
  const facts: RunFacts = {
    pipeline: graph.pipeline,
    exporting: asTyped(`deno task export ${shellWord(args.positionals[0]!)}`),
    options: givenWords(args),
    header: listHtml({
      Pipeline: graph.pipeline,
      Date: dateText(new Date().toISOString()),
      Commit: await commitOf(PROJECT),
      Command: asTyped(["deno", "task", ...Deno.args].map(shellWord).join(" ")),
    }),
    section: runSection(graph, stages, store),
  };
  const out = outOf(args);
  for (const [id, page] of pages) {
    const folder = visibleFolder(out, graph.pipeline, id);
    const text = Deno.readTextFileSync(join(folder, "report.html"));
    const info = linkFingerprint(page) && Deno.lstatSync(page);
    const shown = info?.isFile ? Deno.readTextFileSync(page) : "";
    // As a run has written it: with the facts taken out, it is in the cache.
    const blank = await digest(withoutFacts(shown));
    if (info && !await store.blobs.holds(blank)) {
      const aside = keepAside(page, folder);
      emit({ type: "kept", stage: id, files: 1, folder: aside });
    }
    writeDurably(page, withFacts(text, facts));
  }
}

/** Number of stages above which their table is folded. */
const FEW_STAGES = 16;

/**
 * The section on the run: the stages with their times, versions, and the
 * machine.
 */
function runSection(
  graph: Graph,
  stages: ReadonlyMap<string, UpToDate>,
  store: Store,
): string {
  const made = [...graph.stages.keys()].flatMap((id) => {
    const { key, ...it } = stages.get(id) ?? {};
    const manifest = key === undefined ? key : store.manifests.find(key);
    return manifest ? [{ id, ...it, manifest }] : [];
  });
  const secondsOf = (ids: readonly string[]) =>
    made.filter(({ id }) => ids.includes(id))
      .reduce((sum, { manifest }) => sum + manifest.seconds, 0);
  const groups = groupStages(made.map(({ id }) => graph.stages.get(id)!));
  const longest = Math.max(...groups.map(({ stages }) => secondsOf(stages)));
  const drawing = stageGraph(groups, ({ stages }) => {
    const seconds = secondsOf(stages);
    const count = stages.length > 1 ? `${stages.length} stages, ` : "";
    return barContent(
      `${count}${duration(seconds)}`,
      longest > 0 ? seconds / longest : 0,
    );
  });
  const head = rowHtml("th", ["Stage", "Seconds", "Started", "In this run"]);
  const rows = made.map(({ id, outcome, manifest }) => {
    const origin = outcome === "ran" ? "ran" : "from the cache";
    return rowHtml("td", [
      id,
      manifest.seconds.toFixed(1),
      dateText(manifest.started),
      origin,
    ]);
  });
  const table = tableHtml(
    "Stages",
    `<table><thead>${head}</thead><tbody>${rows.join("")}</tbody></table>`,
  );
  const all = made.length <= FEW_STAGES
    ? table
    : `<details><summary>All ${made.length} stages</summary>${table}</details>`;
  const list = (values: readonly (string | undefined)[]) =>
    [...new Set(values)].filter((it) => it !== undefined).join("; ");
  const runtimes = made.map(({ manifest }) => manifest.parts.runtimes);
  const versions = {
    Deno: list(
      made.map(({ manifest }) => manifest.runtime?.replace(/^deno /, "")),
    ),
    ...Object.fromEntries(
      [...new Set(runtimes.flatMap(Object.keys))]
        .map((name) => [name, list(runtimes.map((it) => it[name]))]),
    ),
    Machine: list(made.map(({ manifest }) => manifest.machine)) || undefined,
    System: `${Deno.build.os} ${Deno.osRelease()} (${Deno.build.arch})`,
  };
  return `<section id="this-run"><h2>The run</h2>
${
    folded(
      "Stages, versions and hardware",
      `<p class="quiet">Seconds are those of the run that made each result, possibly an earlier run on another machine. A bar shows the seconds of a stage relative to the longest one.</p>
${scrolled("Graph", drawing)}
${all}
<h3>Versions and hardware</h3>
${listHtml(versions)}`,
    )
  }</section>`;
}

/** Names with what they stand for, without those that are undefined. */
function listHtml(entries: Readonly<Record<string, string | undefined>>) {
  const items = Object.entries(entries).flatMap(([name, value]) => {
    if (value === undefined) return [];
    return `<div><dt>${escapeHtml(name)}</dt> <dd>${
      escapeHtml(value)
    }</dd></div>`;
  });
  return `<dl class="facts">${items.join("\n")}</dl>`;
}

function rowHtml(name: "th" | "td", texts: readonly string[]): string {
  const cells = texts.map((it) => `<${name}>${escapeHtml(it)}</${name}>`);
  return `<tr>${cells.join("")}</tr>`;
}

/** `2026-01-02 03:04 UTC` */
function dateText(iso: string): string {
  return `${iso.slice(0, 16).replace("T", " ")} UTC`;
}

/**
 * The Git commit of a folder, and whether files differ from it; undefined
 * without Git or outside of a repository.
 */
async function commitOf(folder: string): Promise<string | undefined> {
  const described = await thisHost.output(
    "git",
    "-C",
    folder,
    "describe",
    "--always",
    "--exclude=*",
    "--abbrev=12",
    "--dirty=, with changes",
  );
  return described?.trim();
}

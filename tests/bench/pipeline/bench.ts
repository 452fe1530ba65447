/**
 * Times this project's scheduler against other tools, as whole processes, on
 * the same pipelines of 8 and 200 stages.
 *
 *     sh tests/bench/pipeline/setup.sh
 *     deno task bench pipeline --json
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Arguments,
  EXIT,
  UsageError,
} from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { fingerprint } from "../../../lib/files/fingerprints.ts";
import { Cluster, HAS_SLURM } from "../../slurm/cluster.ts";
import { onSlurm } from "./on_slurm.ts";
import { ours } from "./ours.ts";
import { denoTask, peers } from "./peers.ts";
import type { Tool } from "./tool.ts";
import { benchmark, integersOf } from "../options.ts";

/** Milliseconds after which no tool has a reason to distrust a file's time. */
const REST = 2_500;

/** One line of the result. */
interface Row {
  /** What is timed: `no-op 200`. */
  readonly work: string;
  readonly tool: string;
  /** Median of the runs, in milliseconds. */
  readonly ms: number;
  /** Stages that ran. */
  readonly ran: number;
}

/** Where `setup.sh` installs the other tools. */
const INSTALLED = fileURLToPath(
  import.meta.resolve("../../../out/bench-tools"),
);

/** `deno task bench pipeline`. */
export const command = benchmark`
  pipeline

  Time the scheduler against deno task, ninja, Turborepo, DVC and Snakemake, as whole processes on the same pipelines of small stages. Prints median milliseconds and the number of stages that ran. Run it on an idle machine.

  Options:
  --only TOOL  Tool to time, such as ours or DVC (default: all installed)
  --stages LIST  Numbers of stages of the pipelines (default 8,200)
  --runs N  Runs of each, of which the median is reported (default 5)
  --slurm  Time the scheduler and Snakemake on a Slurm cluster on this machine instead, beside the scheduler without it
  --tools DIR  Folder in which tests/bench/pipeline/setup.sh installed the other tools (default out/bench-tools)
  ${JSON_LINES}

  Examples:
  --json  Time everything, one row per line
  --only ours --stages 8  Time only this scheduler, on 8 stages
  --slurm --stages 200  Time what a stage costs on Slurm
`(bench);

async function bench(args: Arguments): Promise<number> {
  const runs = args.integer("runs", 1) ?? 5;
  const counts = integersOf(args, "stages", "8,200");
  const installed = resolve(args.value("tools") ?? INSTALLED);
  const hasTools = fingerprint(installed) !== undefined;
  const isOnSlurm = args.has("slurm");
  if (isOnSlurm && !HAS_SLURM) {
    throw new UsageError(
      "Slurm is not installed: install slurmctld, slurmd, slurm-client and munge, and run this as root",
    );
  }
  // Slurm's own default of MaxArraySize.
  const cluster = isOnSlurm ? await Cluster.start(1001) : undefined;
  const all = cluster !== undefined
    ? [ours, ...onSlurm(hasTools ? installed : undefined, cluster)]
    : [ours, denoTask, ...(hasTools ? peers(installed) : [])];
  if (!hasTools) {
    console.error(
      `No other tools in "${installed}": install them with "sh tests/bench/pipeline/setup.sh" to compare`,
    );
  }
  const only = args.value("only");
  const tools = all.filter(({ name }) => only === undefined || name === only);
  if (tools.length === 0) {
    throw new UsageError(
      `Unknown tool "${only}"; the tools are ${
        all.map(({ name }) => `"${name}"`).join(", ")
      }`,
    );
  }
  const rows: Row[] = [];
  const report = (row: Row) => {
    rows.push(row);
    if (args.has("json")) console.log(JSON.stringify(row));
  };
  for (const count of counts) {
    await time(tools, count, runs, report);
  }
  for (const row of overheads(rows)) report(row);
  if (!args.has("json")) print(rows, tools);
  return EXIT.success;
}

/** Stages of the larger pipeline. */
const MANY = 200;

/**
 * Overhead of a stage: the time of a cold run of many stages, divided by their
 * number.
 */
function overheads(rows: readonly Row[]): Row[] {
  return rows.filter(({ work }) => work === `cold ${MANY}`)
    .map(({ tool, ms, ran }) => ({
      work: "cold, a stage",
      tool,
      ms: Math.round(ms / MANY * 10) / 10,
      ran,
    }));
}

/** A tool, and the folder of its pipeline. */
interface Timed {
  readonly tool: Tool;
  readonly folder: string;
}

/** Times tools, which take turns: all wait together until files have rested. */
async function time(
  tools: readonly Tool[],
  count: number,
  runs: number,
  report: (row: Row) => void,
): Promise<void> {
  const timed = tools.map((tool): Timed => ({
    tool,
    folder: Deno.makeTempDirSync({ prefix: "bench-" }),
  }));
  const work = async (
    name: string,
    times: number,
    before?: (timed: Timed, round: number) => void,
  ) => {
    const measured = timed.map((): { ms: number; ran: number }[] => []);
    for (let round = 0; round < times; round++) {
      if (before) timed.forEach((it) => before(it, round));
      await sleep(REST);
      for (const [i, { tool, folder }] of timed.entries()) {
        measured[i]!.push(await once(tool, folder));
      }
    }
    for (const [i, { tool }] of timed.entries()) {
      const sorted = measured[i]!.toSorted((a, b) => a.ms - b.ms);
      const { ms, ran } = sorted[sorted.length >> 1]!;
      report({
        work: `${name} ${count}`,
        tool: tool.name,
        ms: Math.round(ms * 10) / 10,
        ran,
      });
    }
  };
  try {
    // Of many stages, a run is long enough to stand for others.
    await work("cold", count > 8 ? 1 : runs, ({ tool, folder }) => {
      Deno.removeSync(folder, { recursive: true });
      Deno.mkdirSync(folder);
      tool.prepare(folder, count);
    });
    for (const { tool, folder } of timed) await once(tool, folder);
    await work("no-op", runs);
    if (count > 8) return;
    await work(
      "comment",
      runs,
      (it, round) => it.tool.comment(it.folder, round),
    );
    await work("edit", runs, (it, round) => it.tool.edit(it.folder, round));
    await work("restore", runs, (it) => it.tool.clean(it.folder));
  } finally {
    for (const { folder } of timed) {
      Deno.removeSync(folder, { recursive: true });
    }
  }
}

async function once(
  tool: Tool,
  folder: string,
): Promise<{ ms: number; ran: number }> {
  const [program, ...args] = tool.command;
  const start = performance.now();
  const { success, stdout, stderr } = await new Deno.Command(program!, {
    args,
    cwd: folder,
    env: { ...tool.env },
  }).output();
  const ms = performance.now() - start;
  const decoder = new TextDecoder();
  if (!success) {
    throw new Error(`${tool.name} failed: ${decoder.decode(stderr)}`);
  }
  return { ms, ran: tool.ran(folder, decoder.decode(stdout)) };
}

function print(rows: readonly Row[], tools: readonly Tool[]): void {
  const works = [...new Set(rows.map(({ work }) => work))];
  console.log(`| tool | ${works.join(" | ")} |`);
  console.log(`|---|${works.map(() => "---|").join("")}`);
  for (const { name } of tools) {
    const cells = works.map((work) => {
      const row = rows.find((row) => row.tool === name && row.work === work);
      return row === undefined ? "" : `${Math.round(row.ms)} (${row.ran} ran)`;
    });
    console.log(`| ${name} | ${cells.join(" | ")} |`);
  }
}

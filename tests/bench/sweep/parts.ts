/** Where the seconds of a sweep's stages go. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import type { Precision } from "../options.ts";
import { perf, samplesOf } from "../profile/samples.ts";

const PROCESS = fileURLToPath(new URL("spent_stage.ts", import.meta.url));

/** Samples a second. */
const FREQUENCY = 999;

/** A stage to run, by its task, parameters and the folders of its inputs. */
export interface Work {
  readonly task: "train-lora" | "train-dylora" | "evaluate-ranks";
  readonly params: Readonly<Record<string, unknown>> & {
    readonly precision: Precision;
  };
  readonly inputs: Readonly<Record<string, string>>;
  readonly output: string;
  readonly checkpoint: string;
  /** Folder of libtensorflow, and those of compiled functions. */
  readonly library: string;
  readonly compiledBefore: string;
  readonly compiledNow: string;
}

/** What a process that ran a stage has measured, in seconds. */
const Measured = z.strictObject({
  pid: z.int(),
  /** From the start of the process. */
  whole: z.number(),
  /** Of the process and its modules. */
  start: z.number(),
  library: z.number(),
  tracing: z.number(),
  /**
   * What first calls took longer than others, by length: functions are loaded
   * or compiled.
   */
  loading: z.record(z.string(), z.number()),
  /** All calls, without that. */
  computing: z.number(),
  /** Tokens that were computed, with padding. */
  padded: z.int(),
});

/** What a process that ran a stage has measured. */
export type Measured = z.output<typeof Measured>;

/** A part of a stage, in seconds. */
export type Part = readonly [name: string, seconds: number];

/**
 * Runs a stage in a process of its own, without the scheduler, under `perf`.
 *
 * @returns Its parts, whose sum is its seconds: products and what prepares
 * their operands as sampled, the others by the clock.
 * @throws {UsageError} If `perf` cannot run.
 */
export async function partsOf(work: Work): Promise<Part[]> {
  for (const folder of [work.output, work.checkpoint, work.compiledNow]) {
    Deno.mkdirSync(folder, { recursive: true });
  }
  const file = join(dirname(work.output), "perf.data");
  const printed = await perf(
    ...["record", "--quiet", "--event", "cpu-clock"],
    ...["--freq", `${FREQUENCY}`, "--output", file, "--"],
    // Names the kernels that oneDNN compiles, in a file for perf.
    ...["env", "ONEDNN_JIT_PROFILE=6", Deno.execPath()],
    ...["run", "-A", "--no-check", PROCESS, JSON.stringify(work)],
  );
  const { pid, loading, ...spent } = Measured.parse(JSON.parse(printed));
  const samples = await perf(
    ...["script", "--input", file, "--fields", "tid,ip,sym,dso"],
  );
  Deno.removeSync(`/tmp/perf-${pid}.map`);
  const counts = samplesOf(samples, pid);
  const sampled = (kind: Parameters<typeof counts.get>[0]) =>
    counts.get(kind)! / FREQUENCY;
  const products = sampled("products");
  const packing = sampled("packing and casts for products");
  const record = work.task === "evaluate-ranks" ? "scores" : "training";
  const { tokens } = z.object({ tokens: z.int() }).parse(
    JSON.parse(Deno.readTextFileSync(join(work.output, `${record}.json`))),
  );
  const padding = 1 - tokens / spent.padded;
  const lengths = Object.entries(loading)
    .sort(([a], [b]) => Number(a) - Number(b));
  const rest = spent.whole - spent.start - spent.library - spent.tracing -
    spent.computing - lengths.reduce((sum, [, seconds]) => sum + seconds, 0);
  return [
    ["start of the process", spent.start],
    ["start of the library", spent.library],
    ["tracing", spent.tracing],
    ...lengths.map(([length, seconds]): Part => [
      `loading or compiling, length ${length}`,
      seconds,
    ]),
    ["products", products * (1 - padding)],
    ["products of padding", products * padding],
    ["operands of products", packing],
    ["other operations", spent.computing - products - packing],
    ["data, weights, results", rest],
  ];
}

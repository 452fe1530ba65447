/**
 * Samples a process that takes training steps or evaluates, with `perf`: the
 * step as it runs, one graph function, whose parts cannot be timed from
 * outside.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../../../lib/cli/arguments/arguments.ts";
import { removeIfThere } from "../../../lib/files/files.ts";
import type { PeerWork } from "../peer/peer.ts";
import type { Phase } from "../step/training.ts";

const PROCESS = fileURLToPath(new URL("steps.ts", import.meta.url));

/** Seconds that are sampled, a thousand times each. */
const SECONDS = 20;

/** What a step spends its time on, in the order of the table. */
const KINDS = [
  "products",
  "packing and casts for products",
  "fused loops",
  "other operations",
  "dispatch and memory",
  "JavaScript",
] as const;

type Kind = typeof KINDS[number];

/** A step or an evaluation: its median seconds, and the share of each kind. */
export interface Sampled {
  readonly seconds: number;
  readonly shares: ReadonlyMap<Kind, number>;
}

/**
 * Samples a process of its own that takes steps or evaluates.
 *
 * @param folder Folder of the model, in which the samples are stored too
 * @param library Folder of libtensorflow
 * @throws {UsageError} If `perf` cannot run.
 */
export async function sampleSteps(
  folder: string,
  work: PeerWork,
  library: string,
  phase: Phase,
): Promise<Sampled> {
  await perf("--version");
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", PROCESS],
      ...[folder, JSON.stringify(work), library, phase],
    ],
    // Names the kernels that oneDNN compiles, in a file for perf.
    env: { ONEDNN_JIT_PROFILE: "6" },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const names = `/tmp/perf-${child.pid}.map`;
  try {
    const ready = await child.stdout.getReader().read();
    if (ready.done) throw new Error("The process that takes steps has failed");
    const seconds = Number(new TextDecoder().decode(ready.value));
    const file = join(folder, "perf.data");
    await perf(
      ...["record", "--quiet", "--event", "cpu-clock", "--freq", "1000"],
      ...["--output", file, "--pid", `${child.pid}`],
      ...["--", "sleep", `${SECONDS}`],
    );
    const samples = await perf(
      ...["script", "--input", file, "--fields", "tid,ip,sym,dso"],
    );
    return { seconds, shares: sharesOf(samples, child.pid) };
  } finally {
    child.kill("SIGKILL");
    await child.status;
    removeIfThere(names);
  }
}

/**
 * Runs `perf` and returns what it prints.
 *
 * @throws {UsageError} If it is not installed, or fails.
 */
export async function perf(...args: readonly string[]): Promise<string> {
  let result: Deno.CommandOutput;
  try {
    result = await new Deno.Command("perf", { args: [...args] }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UsageError(
      'Cannot run "perf": install it (Debian: linux-perf), or profile without --samples',
    );
  }
  const [output, message] = [result.stdout, result.stderr]
    .map((bytes) => new TextDecoder().decode(bytes));
  if (result.success) return output!;
  throw new UsageError(`"perf ${args[0]}" failed: ${message!.trim()}`);
}

/** The share of each kind in what `perf script` prints of a process. */
export function sharesOf(samples: string, pid: number): Map<Kind, number> {
  const counts = samplesOf(samples, pid);
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  return new Map([...counts].map(([kind, count]) => [kind, count / all]));
}

/**
 * The samples of each kind in what `perf script` prints of a process: a line
 * for each sample, `THREAD ADDRESS SYMBOL (FILE)`.
 */
export function samplesOf(samples: string, pid: number): Map<Kind, number> {
  const counts = new Map(KINDS.map((kind) => [kind, 0]));
  let all = 0;
  for (
    const [, thread, symbol, file] of samples
      .matchAll(/^ *(\d+) +[\da-f]+ (.*) \((.*)\)$/gm)
  ) {
    const kind = Number(thread) === pid ? "JavaScript" : kindOf(symbol!, file!);
    counts.set(kind, counts.get(kind)! + 1);
    all++;
  }
  if (all === 0) throw new Error("perf has taken no samples");
  return counts;
}

/** The kind of a sample in a thread of the library. */
function kindOf(symbol: string, file: string): Kind {
  if (symbol.startsWith("jit_")) {
    return /gemm/.test(symbol) && !/copy|reorder/.test(symbol)
      ? "products"
      : "packing and casts for products";
  }
  // Code that XLA has compiled has no names, and lies in no file.
  if (symbol === "[unknown]" && !/\.so\b|deno/.test(file)) return "fused loops";
  return /Eigen::|HandleCopies|memmove|memcpy|memset/.test(symbol)
    ? "other operations"
    : "dispatch and memory";
}

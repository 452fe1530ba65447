import { assert, assertEquals, assertNotMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { signal } from "../../lib/scheduler/executors/local.ts";
import { SchedulerProcess, type TestProject } from "../scheduler/project.ts";
import { hasStrace, namesIn } from "./kill_points.ts";
import { orphansOf } from "./processes.ts";
import type { Random } from "./random.ts";
import { TEXTS, wordProject } from "./word_project.ts";

/**
 * Errors of system calls: something is gone, the disk fails, is full, too many
 * files are open.
 */
const ERRORS = ["ENOENT", "EIO", "ENOSPC", "EMFILE"];

/** Seconds after which a run that has not ended hangs. */
const LONGEST = 60;

/**
 * The n-th call of a system call by the main thread of a run, and the error
 * that it gets.
 */
interface Point {
  readonly call: string;
  readonly n: number;
  readonly error: string;
}

/**
 * Makes system calls of a run fail that touch its output folder, one in each
 * run. Each run must end within seconds; what fails must fail in words; and the
 * next run must succeed, with right outputs and nothing left behind.
 *
 * @param most Number of points, chosen at random; by default all calls, each
 * with every error.
 * @returns Number of runs that failed, ended early and succeeded all the same;
 * undefined if `strace` is not installed.
 */
export async function failAtPoints(
  random: Random,
  most = Infinity,
): Promise<Record<"failed" | "ended" | "succeeded", number> | undefined> {
  if (!hasStrace()) return undefined;
  using project = wordProject();
  let word = 0;
  await runWhole(project, `w${word}`);
  const trace = project.path("trace");
  const traced = start(project, `w${++word}`, ["-y", "-o", trace]);
  await endOf(traced, "the traced run");
  const points = pointsIn(Deno.readTextFileSync(trace), project.path("out"));
  const chosen = most >= points.length
    ? points
    : Array.from({ length: most }, () => random.pick(points));
  const counts = { failed: 0, ended: 0, succeeded: 0 };
  for (const { call, n, error } of chosen) {
    const where = `${call} ${n}: ${error}`;
    const run = start(project, `w${++word}`, [
      ...["-o", "/dev/null", "-e", `trace=${call}`],
      ...["-e", `inject=${call}:error=${error}:when=${n}`],
    ]);
    const code = await endOf(run, where);
    const last = run.events.at(-1);
    const messages = run.events.flatMap((event) =>
      event.type === "failed" ? [event.message] : []
    );
    for (const message of messages) {
      assert(message.length > 10, where);
      assertNotMatch(message, /^\w*Error\b.*\n +at /, where);
    }
    if (last?.type !== "summary") counts.ended++;
    else if (last.failed > 0) counts.failed++;
    else counts.succeeded++;
    // An error before or after the stages is printed, and the exit code tells.
    const isWell = last?.type === "summary" && last.failed === 0;
    if (!isWell) assert(code !== 0, where);
    assertEquals(await orphansOf(project.path("out")), [], where);
    await runWhole(project, `w${word}`, where);
  }
  // What a fault has left is removed before the next stage runs.
  await runWhole(project, `w${++word}`);
  // If the history of a stage could not be read, its last output may be the
  // user's and is kept.
  const names = namesIn(project.path("out/test"));
  assertEquals(names.filter((name) => name !== "_kept"), Object.keys(TEXTS));
  assertEquals(namesIn(project.path("out/cache/runs")), []);
  return counts;
}

/** Runs the stages without faults, and checks their outputs. */
async function runWhole(
  project: TestProject,
  word: string,
  where = "no fault",
): Promise<void> {
  const run = start(project, word);
  await endOf(run, where);
  const last = run.events.at(-1);
  assert(last?.type === "summary", where);
  const messages = run.events.filter(({ type }) => type === "failed");
  assertEquals(messages, [], where);
  for (const [stage, textOf] of Object.entries(TEXTS)) {
    const text = project.read("out/test", stage, "out.txt");
    assertEquals(text, textOf(word), where);
  }
}

/** Starts a run of the command line, if there are options within `strace`. */
function start(
  project: TestProject,
  word: string,
  strace: readonly string[] = [],
): SchedulerProcess {
  const stages = [
    `  first: { task: first, with: { word: ${word} } }`,
    "  second: { task: second, inputs: { from: first } }",
  ];
  const file = "faults.yaml";
  project.write(file, `name: test\nstages:\n${stages.join("\n")}\n`);
  const [program, ...args] = [
    ...(strace.length > 0 ? ["strace", "-qq", ...strace] : []),
    Deno.execPath(),
    "run",
    "-A",
    "--no-check",
    "--unstable-lazy-dynamic-imports",
    fileURLToPath(import.meta.resolve("../../lib/cli/main.ts")),
    "pipeline",
    project.path(file),
    "--json",
    "--tasks",
    project.path("tasks"),
    "--out",
    project.path("out"),
  ];
  return new SchedulerProcess(
    new Deno.Command(program!, { args, stdout: "piped", stderr: "null" })
      .spawn(),
  );
}

/** Waits for the end of a run; returns its exit code. */
async function endOf(run: SchedulerProcess, where: string): Promise<number> {
  let hangs = false;
  const timer = setTimeout(() => {
    hangs = true;
    signal(run.process.pid, "SIGKILL");
  }, LONGEST * 1000);
  await run.end();
  clearTimeout(timer);
  assert(!hangs, `${where}: hangs after ${JSON.stringify(run.events.at(-1))}`);
  return (await run.process.status).code;
}

/**
 * The calls in a trace that name a file in the folder, by path or descriptor,
 * with each error.
 */
function pointsIn(trace: string, folder: string): Point[] {
  const seen = new Map<string, number>();
  const points: Point[] = [];
  for (const line of trace.split("\n")) {
    const call = /^\w+(?=\()/.exec(line)?.[0];
    if (call === undefined) continue;
    const n = (seen.get(call) ?? 0) + 1;
    seen.set(call, n);
    if (call !== "close" && line.includes(`${folder}/`)) {
      points.push(...ERRORS.map((error) => ({ call, n, error })));
    }
  }
  return points;
}

/**
 * `deno task test [GROUP...]`: runs the groups of tests side by side, each to
 * its end whatever the others find, and ends with one line:
 * `2284 passed, 0 failed, 212 skipped`.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { WHY_IGNORED } from "./ignored.ts";
import { linesOf } from "./lines.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What a group runs, as paths below the root. */
interface Group {
  readonly paths: readonly string[];
  readonly without?: readonly string[];
}

/**
 * All tests, in groups of a process each; those that take longest start first.
 */
export const GROUPS: Readonly<Record<string, Group>> = {
  engine: { paths: ["tests/engine"] },
  others: {
    paths: ["tests"],
    without: [
      "tests/cli",
      "tests/engine",
      "tests/long",
      "tests/resize",
      "tests/scheduler",
      "tests/slurm",
      "tests/tasks",
    ],
  },
  peft: { paths: ["tests/tasks/peft_test.ts", "tests/resize"] },
  tasks: { paths: ["tests/tasks"], without: ["tests/tasks/peft_test.ts"] },
  scheduler: { paths: ["tests/scheduler"] },
  "cli/commands": { paths: ["tests/cli/commands"] },
  slurm: { paths: ["tests/slurm"] },
  cli: { paths: ["tests/cli"], without: ["tests/cli/commands"] },
  long: {
    paths: ["tests/long"],
    without: ["tests/long/other_engines_test.ts"],
  },
  engines: { paths: ["tests/long/other_engines_test.ts"] },
};

/** Groups that run by request only. */
const BY_REQUEST = ["long", "engines"];

/** Processes at a time; each leaves the processors idle for a good part. */
const PROCESSES = 3 * navigator.hardwareConcurrency;

const USAGE = `Usage: deno task test [--strict] [GROUP...]

Run tests: by default all groups but ${BY_REQUEST.join(" and ")}.

Groups: ${Object.keys(GROUPS).join(", ")}

  --strict   A test that is ignored must be one of those that tests/ignored.ts
             allows, as on a machine that has everything
  --help     Show this help

Examples:
  deno task test
  deno task test engine tasks
  deno test -A tests/store --filter "plan()"`;

/** A test as it ended. */
interface Outcome {
  readonly file: string;
  readonly name: string;
  readonly state: "passed" | "failed" | "ignored";
}

/** A group as its process ended. */
interface GroupResult {
  readonly group: string;
  readonly outcomes: readonly Outcome[];
  /** Exit code, if the process failed for another reason than a test. */
  readonly exitCode: number | undefined;
  /** What it printed of failures, in lines. */
  readonly errors: readonly string[];
}

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(USAGE);
    return 0;
  }
  const isStrict = args.includes("--strict");
  const named = args.filter((it) => it !== "--strict");
  const unknown = named.filter((it) => !Object.hasOwn(GROUPS, it));
  if (unknown.length > 0) {
    console.error(`Unknown group "${unknown[0]}"\n\n${USAGE}`);
    return 2;
  }
  const groups = named.length > 0
    ? named
    : Object.keys(GROUPS).filter((it) => !BY_REQUEST.includes(it));

  let interrupted = false;
  // The processes of the groups get the signal of the terminal as well.
  Deno.addSignalListener("SIGINT", () => {
    interrupted = true;
  });
  const results: GroupResult[] = [];
  const waiting = [...groups];
  const lane = async () => {
    let group = waiting.shift();
    while (group !== undefined && !interrupted) {
      results.push(await runGroup(group));
      group = waiting.shift();
    }
  };
  await Promise.all(Array.from({ length: PROCESSES }, lane));
  if (interrupted) return 130;
  return summarize(results, isStrict);
}

async function runGroup(group: string): Promise<GroupResult> {
  const { paths, without = [] } = GROUPS[group]!;
  const folder = await Deno.makeTempDir({ prefix: "tests-" });
  const report = join(folder, "report.xml");
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      "test",
      "-A",
      "--no-check",
      "--unstable-lazy-dynamic-imports",
      `--junit-path=${report}`,
      ...(without.length === 0 ? [] : [`--ignore=${without.join(",")}`]),
      ...paths,
    ],
    cwd: ROOT,
    // Tests that print commands expect them as "deno task" has them.
    env: { npm_lifecycle_event: "" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const errors: string[] = [];
  await Promise.all([
    relay(process.stdout, group, errors),
    relay(process.stderr, group, errors),
  ]);
  const { code } = await process.status;
  const outcomes = outcomesOf(await readReport(report));
  await Deno.remove(folder, { recursive: true });
  const hasFailed = outcomes.some(({ state }) => state === "failed");
  return {
    group,
    outcomes,
    exitCode: code === 0 || hasFailed ? undefined : code,
    errors,
  };
}

/** The report of a process; empty if it ended before it could write it. */
async function readReport(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/**
 * Prints lines with the name of their group before them; keeps those from the
 * heading of the errors on.
 */
async function relay(
  stream: ReadableStream<Uint8Array>,
  group: string,
  errors: string[],
): Promise<void> {
  let isError = false;
  for await (const line of linesOf(stream)) {
    console.log(`[${group}] ${line}`);
    if (line.trim() === "ERRORS" || line.startsWith("error: ")) isError = true;
    if (isError) errors.push(line);
  }
}

/**
 * The tests of a report in JUnit's format, as `deno test` writes it; steps
 * belong to their test.
 */
export function outcomesOf(report: string): Outcome[] {
  const outcomes: Outcome[] = [];
  const tests = new Set<string>();
  const cases =
    /<testcase name="([^"]*)" classname="([^"]*)"[^>]*?(?:\/>|>([^]*?)<\/testcase>)/g;
  for (
    const [, escapedName, escapedFile, body = ""] of report.matchAll(cases)
  ) {
    const name = unescapeXml(escapedName!);
    const file = unescapeXml(escapedFile!).replace(/^\.\//, "");
    const parent = name.slice(0, Math.max(0, name.indexOf(" > ")));
    if (tests.has(`${file} ${parent}`)) continue;
    tests.add(`${file} ${name}`);
    const state = body.includes("<skipped")
      ? "ignored"
      : body.includes("<failure") || body.includes("<error")
      ? "failed"
      : "passed";
    outcomes.push({ file, name, state });
  }
  return outcomes;
}

function unescapeXml(text: string): string {
  const characters: Record<string, string> = {
    lt: "<",
    gt: ">",
    quot: '"',
    apos: "'",
    amp: "&",
  };
  return text.replace(
    /&(?:#x([\da-f]+)|#(\d+)|(\w+));/gi,
    (whole, hex, decimal, name) => {
      if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
      if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
      return characters[name] ?? whole;
    },
  );
}

/**
 * Prints what failed, what was ignored and why, and the counts; gives the exit
 * code.
 */
function summarize(
  results: readonly GroupResult[],
  isStrict: boolean,
): number {
  const outcomes = results.flatMap(({ outcomes }) => outcomes);
  const failed = outcomes.filter(({ state }) => state === "failed");
  const ignored = outcomes.filter(({ state }) => state === "ignored");
  const broken = results.filter(({ exitCode }) => exitCode !== undefined);
  const unexpected = ignored.filter((it) => reasonOf(it) === undefined);

  for (const { group, errors } of results) {
    if (errors.length > 0) console.log(`\n== ${group}\n${errors.join("\n")}`);
  }
  if (isStrict) listIgnored(ignored);
  console.log("");
  for (const { file, name } of failed) {
    console.log(`FAILED  ${file}: ${name}`);
    console.log(`        ${commandOf({ file, name })}`);
  }
  for (const { group, exitCode } of broken) {
    console.log(`FAILED  the process of ${group} (exit code ${exitCode})`);
    console.log(`        deno task test ${group}`);
  }
  if (isStrict) {
    for (const it of unexpected) {
      console.log(`FAILED  ${it.file}: ${it.name} was ignored`);
      console.log(`        ${commandOf(it)}`);
    }
  }
  const failures = failed.length + broken.length +
    (isStrict ? unexpected.length : 0);
  const passed = outcomes.length - failed.length - ignored.length;
  console.log(
    `${passed} passed, ${failures} failed, ${ignored.length} skipped`,
  );
  return failures === 0 ? 0 : 1;
}

/** Prints the ignored tests by the reason for which they may be. */
function listIgnored(ignored: readonly Outcome[]): void {
  const byReason = Map.groupBy(ignored, (it) => reasonOf(it) ?? "No reason");
  for (const [reason, tests] of byReason) {
    console.log(`\nIgnored: ${reason}`);
    for (const { file, name } of tests) console.log(`  ${file}: ${name}`);
  }
}

function reasonOf({ file, name }: Outcome): string | undefined {
  return WHY_IGNORED.find((it) =>
    it.file === file && (it.name === undefined || name.includes(it.name))
  )?.reason;
}

/** The command that runs a test alone. */
function commandOf({ file, name }: Pick<Outcome, "file" | "name">): string {
  const quoted = name.replaceAll("'", `'\\''`);
  return `deno test -A ${file} --filter '${quoted}'`;
}

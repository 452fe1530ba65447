/**
 * Feeds random inputs to all parsers, kills a run at each change of the disk,
 * and makes each system call on its files fail. Then edits, kills and damages a
 * random pipeline, round by round, with one of the faults of `faults.ts` in
 * each, and compares its outputs with those of a run without a cache. Sources
 * change in ways that their times do not show, and files of a user lie about,
 * of which none may be lost.
 *
 *     deno task soak                 # 300 rounds, a new seed, 100,000 inputs
 *     deno task soak --rounds 20 --seed 7
 */
import { assert, assertEquals } from "@std/assert";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type CommandSyntax,
  EXIT,
  helpOf,
  readArguments,
  UsageError,
} from "../../lib/cli/arguments/arguments.ts";
import { listFiles } from "../../lib/store/blobs.ts";
import { impossibleFaults, possibleFaults, type Site } from "./faults.ts";
import { fuzzParsers } from "./fuzz.ts";
import { failAtPoints } from "./fault_points.ts";
import { killAtEveryPoint } from "./kill_points.ts";
import { SoakPipeline } from "./pipeline.ts";
import { orphansOf, processesOf } from "./processes.ts";
import { Random } from "./random.ts";
import { Vandal } from "./vandal.ts";

/** Milliseconds after the start within which a run is killed. */
const KILL_WITHIN = 900;

const usage: CommandSyntax = {
  name: "soak",
  usage: "",
  description:
    "Feed random inputs to every parser, kill a run at each system call that changes the disk and make calls on its files fail (if strace is installed), and edit, kill and damage pipelines at random, comparing the outputs with those of runs without a cache. With 300 rounds or more, each parser gets 100,000 inputs, otherwise 2,000.",
  options: [
    {
      name: "rounds",
      value: "N",
      description: "Rounds of edits, kills and damage (default 300)",
    },
    {
      name: "seed",
      value: "N",
      description:
        "Seed of the random numbers (default: a new one, which is printed)",
    },
    {
      name: "only",
      value: "TEXT",
      description:
        "Rounds alone, with those faults whose name contains the text",
    },
  ],
  examples: [
    ["", "The whole soak, some hours"],
    ["--rounds 20 --seed 7", "A few minutes, reproducible"],
    ['--rounds 5 --only "no ps"', "One fault"],
  ],
  positionals: { min: 0, max: 0 },
};

const { rounds, seed, only } = await readOptions();
console.log(`Soak: ${rounds} rounds, seed ${seed}`);
const faults = possibleFaults().filter(({ name }) => name.includes(only ?? ""));
if (faults.length === 0) {
  console.error(`No fault of this machine has "${only}" in its name`);
  Deno.exit(EXIT.usage);
}
if (only === undefined) {
  const long = rounds >= 300;
  await fuzzParsers(long ? 100_000 : 2_000);
  const kills = await killAtEveryPoint(long);
  console.log(
    kills === undefined
      ? "No kills at system calls: strace is not installed"
      : `Killed at every point: ${JSON.stringify(kills)}`,
  );
  const failed = await failAtPoints(new Random(seed), long ? Infinity : 20);
  if (failed !== undefined) {
    console.log(`Failed system calls: ${JSON.stringify(failed)}`);
  }
  for (const fault of impossibleFaults()) console.log(`Not here: ${fault}`);
}

const random = new Random(seed);
const pipeline = new SoakPipeline(random);
const { project } = pipeline;
const out = project.path("out");
const vandal = new Vandal(project, random);
const counts = { ran: 0, restored: 0, unchanged: 0, kills: 0, pairs: 0 };

const site: Site = { pipeline, out, run: runOnce };

for (let round = 1; round <= rounds; round++) {
  const acts = [edit()];
  while (random.chance(0.5)) acts.push(edit());
  const kind = random.pick(["plain", "kill", "pair", "remove"] as const);
  const fault = faults[(round - 1) % faults.length]!;
  acts.push(fault.name);
  try {
    vandal.look();
    const undo = await fault.begin(site);
    try {
      if (kind === "kill") acts.push(...await runAndKill());
      if (fault.mayFail) await pipeline.spawn(out).endInWords();
      else if (kind === "pair") await runPair();
      else if (kind === "remove") acts.push(await runAndRemove());
      // Before the next run, which would kill orphans.
      await checkOrphans();
      if (!fault.mayFail) await runAndCompare();
    } finally {
      await undo?.();
    }
    if (fault.mayFail) await runAndCompare();
    assertEquals(vandal.lost(), [], "files of the user are lost");
  } catch (error) {
    console.error(
      `Round ${round} of seed ${seed} (${kind}): ${
        acts.join("; ")
      }\nThe project is left in "${project.folder}"`,
    );
    throw error;
  }
  if (round % 10 === 0 || round === rounds) {
    console.log(`${round} rounds: ${JSON.stringify(counts)}`);
  }
}
pipeline[Symbol.dispose]();
console.log(
  "No wrong result, no lost file, no orphan, no hang, no repair by hand",
);
Deno.exit(0);

/** Reads the options; exits after printing the help or a usage error. */
async function readOptions(): Promise<
  {
    readonly rounds: number;
    readonly seed: number;
    readonly only: string | undefined;
  }
> {
  try {
    const given = await readArguments(usage, Deno.args);
    const rounds = given.integer("rounds", 1) ?? 300;
    const seed = given.integer("seed", 0) ?? Date.now() % 1e9;
    const only = given.value("only");
    if (!given.has("help")) return { rounds, seed, only };
    console.log(helpOf(usage));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    Deno.exit(EXIT.usage);
  }
  Deno.exit(EXIT.success);
}

function edit(): string {
  return random.pick([
    () => pipeline.changeHelper(),
    () => pipeline.rewriteHelper(),
    () => pipeline.changeParam(),
    () => pipeline.changeSource(),
    () => pipeline.touch(),
    () => pipeline.rewire(),
    () => vandal.strike(),
    () => vandal.strike(),
    () => vandal.strike(),
  ])();
}

/** Runs all stages to the end. */
async function runOnce(): Promise<void> {
  const scheduler = pipeline.spawn(out);
  const summary = await scheduler.end();
  assert(summary?.type === "summary", JSON.stringify(summary));
  assertEquals(
    [summary.failed, summary.skipped],
    [0, 0],
    JSON.stringify(
      scheduler.events.filter(({ type }) => type === "failed"),
    ),
  );
  counts.ran += summary.ran;
  counts.restored += summary.restored;
  counts.unchanged += summary.unchanged;
}

/**
 * Runs all stages, and compares the outputs with those of a run without a
 * cache.
 */
async function runAndCompare(): Promise<void> {
  await runOnce();
  await compareWithNothing();
  await checkOrphans();
}

/** Starts a run and ends it, or kills some of its stages, at random times. */
async function runAndKill(): Promise<string[]> {
  const killed: string[] = [];
  const scheduler = pipeline.spawn(out);
  while (killed.length < 3) {
    await sleep(random.below(KILL_WITHIN));
    const own = scheduler.process.pid;
    const children = processesOf(project.folder).filter((pid) => pid !== own);
    const target = random.chance(0.5) || children.length === 0
      ? own
      : random.pick(children);
    const signal = target === own
      ? random.pick(["SIGKILL", "SIGTERM", "SIGINT"] as const)
      : "SIGKILL";
    try {
      Deno.kill(target, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    counts.kills++;
    killed.push(`${signal} to ${target === own ? "the run" : "a stage"}`);
    if (target === own) break;
  }
  await scheduler.end();
  return killed;
}

/**
 * Removes the cache while stages run. The run must end, one way or the other.
 */
async function runAndRemove(): Promise<string> {
  const scheduler = pipeline.spawn(out);
  await sleep(random.below(2 * KILL_WITHIN));
  const { success } = await new Deno.Command("rm", {
    args: ["-rf", `${out}/cache`],
  }).output();
  await scheduler.endInWords();
  vandal.look();
  return success ? "removed the cache" : "removed a part of the cache";
}

/** Runs all stages in two schedulers at once. */
async function runPair(): Promise<void> {
  counts.pairs++;
  const first = pipeline.spawn(out);
  await sleep(random.below(300));
  const second = pipeline.spawn(out);
  for (const scheduler of [first, second]) {
    const summary = await scheduler.end();
    assert(summary?.type === "summary", "one of two ended early");
    assertEquals(
      summary.failed,
      0,
      JSON.stringify(
        scheduler.events.filter(({ type }) => type === "failed"),
      ),
    );
  }
}

/** Checks that no process of the project is left. */
async function checkOrphans(): Promise<void> {
  assertEquals(await orphansOf(project.folder), [], "orphans");
}

/** Compares the visible outputs with those of a run without a cache. */
async function compareWithNothing(): Promise<void> {
  const fresh = project.path("nothing");
  const summary = await pipeline.spawn(fresh).end();
  assert(summary?.type === "summary" && summary.failed === 0);
  for (const id of pipeline.ids) {
    const folder = project.path("out/test", id);
    const expected = `${fresh}/test/${id}`;
    const paths = listFiles(expected, "refuse");
    assertEquals(listFiles(folder, "refuse"), paths, `files of ${id}`);
    for (const path of paths) {
      assertEquals(
        Deno.readTextFileSync(`${folder}/${path}`),
        Deno.readTextFileSync(`${expected}/${path}`),
        `${path} of ${id}`,
      );
    }
  }
  Deno.removeSync(fresh, { recursive: true });
}

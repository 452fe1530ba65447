import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Event } from "../../lib/scheduler/events.ts";
import { processesOf } from "../soak/processes.ts";
import { until } from "../until.ts";
import {
  isAlive,
  pidOutside,
  type StageOptions,
  TestProject,
} from "./project.ts";

/** A task that logs its PID and never ends. */
const FOREVER =
  "stage.log('pid ' + Deno.pid); await new Promise((r) => setInterval(r, 1e6).ref && 0);";

/** The process whose id in its namespace is in the log. */
function pidIn(events: readonly Event[], project: TestProject): number {
  for (const event of events) {
    if (event.type === "log" && event.line.startsWith("pid ")) {
      return pidOutside(project.folder, Number(event.line.slice(4)));
    }
  }
  throw new Error("No process id in the log");
}

/** How the stage was interrupted: where the next run goes on. */
function interruption(events: readonly Event[]): string | undefined {
  const interrupted = events.find(({ type }) => type === "interrupted");
  assert(interrupted?.type === "interrupted", JSON.stringify(events));
  return interrupted.checkpoint;
}

function failure(events: readonly Event[]): string {
  const failed = events.find((event) => event.type === "failed");
  return failed?.type === "failed" ? failed.message : "";
}

Deno.test("run() ends its stages when it is killed, and the next run runs them", async () => {
  using project = new TestProject();
  project.task("slow", FOREVER);
  const stages: Record<string, StageOptions> = { slow: { task: "slow" } };
  const killed = project.spawn(stages);
  await killed.event((event) => event.type === "log");
  const pid = pidIn(killed.events, project);
  assert(isAlive(pid));
  killed.process.kill("SIGKILL");
  await until(() => !isAlive(pid), "the stage's process was gone");
  await killed.end();
  project.task("slow", "return 'done';");
  const { summary } = await project.run(stages);
  assertEquals(summary.ran, 1);
  assertEquals([...Deno.readDirSync(project.path("out/cache/runs"))], []);
});

Deno.test("run() removes a run folder whose removal has failed, even if its lock is gone", async () => {
  using project = new TestProject();
  project.task("quick", "return 'done';");
  const stages: Record<string, StageOptions> = { quick: { task: "quick" } };
  // As removal leaves it if it fails after the lock.
  project.write("out/cache/runs/12-0123abcd-3-quick/output/out.txt", "left");
  const { summary } = await project.run(stages);
  assertEquals(summary.ran, 1);
  assertEquals([...Deno.readDirSync(project.path("out/cache/runs"))], []);
});

Deno.test("run() retries a killed stage from its checkpoint when retries is set", async () => {
  using project = new TestProject();
  project.task(
    "fragile",
    `const file = stage.checkpoint + "/step";
     let step = 0;
     try { step = Number(Deno.readTextFileSync(file)); } catch { /* the first attempt */ }
     Deno.writeTextFileSync(file, String(step + 1));
     if (step < 2) { stage.log("pid " + Deno.pid); await new Promise((r) => setTimeout(r, 1e6)); }
     return step;`,
  );
  const stages = { fragile: { task: "fragile", retries: 2 } };
  const scheduler = project.spawn(stages);
  for (const attempt of [1, 2]) {
    const logs = () => scheduler.events.filter(({ type }) => type === "log");
    await scheduler.event(() => logs().length === attempt);
    Deno.kill(pidIn(logs().slice(-1), project), "SIGKILL");
  }
  const summary = await scheduler.end();
  assertEquals(summary?.type === "summary" && summary.ran, 1);
  assertMatch(failure(scheduler.events), /was ended by SIGKILL/);
  assertEquals(project.read("out/test/fragile/out.txt"), "2");
  const left = [...Deno.readDirSync(project.path("out/cache/checkpoints"))];
  assertEquals(left, [], "a success removes the checkpoint");
});

Deno.test("run() lets a stage write a checkpoint when interrupted, and the next run resumes from it", async () => {
  using project = new TestProject();
  const body = (last: string) =>
    `const file = stage.checkpoint + "/state";
     try { return Deno.readTextFileSync(file); } catch { /* nothing to go on from */ }
     stage.log("pid " + Deno.pid);
     const timer = setInterval(() => {}, 1000);
     await new Promise((resolve) => stage.signal.addEventListener("abort", resolve));
     clearInterval(timer);
     Deno.writeTextFileSync(file, ${last});
     stage.saved("the middle");
     throw stage.signal.reason;`;
  project.task("train", body('"half"'));
  const stages = { train: { task: "train" } };
  const scheduler = project.spawn(stages);
  await scheduler.event((event) => event.type === "log");
  const pid = pidIn(scheduler.events, project);
  scheduler.process.kill("SIGINT");
  await scheduler.end();
  assert(!isAlive(pid));
  assertEquals(interruption(scheduler.events), "the middle");
  assertEquals(failure(scheduler.events), "");
  const last = scheduler.events.at(-1);
  assert(last?.type === "summary");
  assertEquals([last.interrupted, last.failed], [1, 0]);
  const { summary } = await project.run(stages);
  assertEquals(summary.ran, 1);
  assertEquals(project.read("out/test/train/out.txt"), "half");
});

Deno.test("run() kills a stage that ignores the interrupt, with all that it started", async () => {
  using project = new TestProject();
  project.task(
    "deaf",
    `Deno.addSignalListener("SIGTERM", () => {});
     const program = new Deno.Command("setsid", { args: ["sh", "-c", "trap '' TERM; echo pid $$; sleep 1000"], stdin: "null", stdout: "piped" }).spawn();
     const { value } = await program.stdout.getReader().read();
     stage.log(new TextDecoder().decode(value).trim());
     const end = Date.now() + 1e6;
     stage.log("busy");
     while (Date.now() < end);`,
    { rest: 'permissions: { run: ["setsid"] },' },
  );
  const interrupt = new AbortController();
  let pid = 0;
  const { run } = await import("../../lib/scheduler/scheduler.ts");
  const events: Event[] = [];
  await run(
    await project.graph({ deaf: { task: "deaf" } }),
    [],
    project.settings({ grace: 0.3 }),
    (event) => {
      events.push(event);
      if (event.type === "log" && event.line === "busy") {
        pid = pidIn(events, project);
        interrupt.abort();
      }
    },
    interrupt.signal,
  );
  assert(pid > 0);
  await until(() => !isAlive(pid), "the program that it started was gone");
  assertEquals(interruption(events), undefined);
});

Deno.test("run() stops a stage when its timeout is over", async () => {
  using project = new TestProject();
  project.task("slow", FOREVER);
  const stages = { slow: { task: "slow", timeout: 0.5 } };
  const { events } = await project.run(stages);
  assertEquals(failure(events), "Timed out after 0.5 s");
  assertEquals(processesOf(project.folder), []);
});

Deno.test("run() stops a stage when resources.time is over, unless timeout differs", async () => {
  using project = new TestProject();
  project.task("slow", FOREVER);
  const resources = { time: 0.5 };
  const given = await project.run({ slow: { task: "slow", resources } });
  assertEquals(failure(given.events), "Timed out after 0.5 s");
  const stages = { slow: { task: "slow", resources, timeout: 0.6 } };
  const { events } = await project.run(stages);
  assertEquals(failure(events), "Timed out after 0.6 s");
});

Deno.test("run() fails a stage that exits early, lacks a declared file, or writes a link", async () => {
  using project = new TestProject();
  project.task(
    "exits",
    "Deno.writeTextFileSync(stage.output + '/out.txt', 'x'); Deno.exit(0);",
  );
  project.task(
    "forgets",
    "Deno.writeTextFileSync(stage.output + '/other.txt', 'x'); globalThis.Deno.writeTextFileSync = () => {};",
  );
  project.task(
    "links",
    "Deno.mkdirSync(stage.output + '/d'); new Deno.Command('ln', { args: ['-s', '/etc/passwd', stage.output + '/d/p'] }).outputSync(); return 1;",
    { rest: 'permissions: { run: ["ln"] },' },
  );
  const { events, summary } = await project.run({
    exits: { task: "exits" },
    forgets: { task: "forgets" },
    links: { task: "links" },
  });
  assertEquals(summary.failed, 3);
  const messages = events.flatMap((event) =>
    event.type === "failed" ? [event.message] : []
  ).sort();
  assertMatch(messages[0]!, /^"d\/p" is a symbolic link/);
  assertEquals(
    messages[2],
    'The stage did not write "out.txt", which its task declares',
  );
  assertEquals(messages[1], "The process ended before run() returned");
});

Deno.test("run() separates events from what a stage prints", async () => {
  using project = new TestProject();
  project.task(
    "noisy",
    `const bytes = new TextEncoder().encode("no end of line");
     Deno.stdout.writeSync(bytes);
     stage.metric("loss", 0.5);
     console.log('{"type":"metric","name":"loss","value":99}');
     console.error("to stderr");
     stage.log("two\\nlines");
     return "ok";`,
  );
  const { events } = await project.run({ noisy: { task: "noisy" } });
  const metrics = events.filter((event) => event.type === "metric");
  assertEquals(metrics.map(({ value }) => value), [0.5]);
  const lines = events.flatMap((event) =>
    event.type === "log" ? [`${event.stream}: ${event.line}`] : []
  );
  assertEquals(lines.filter((it) => !it.startsWith("stderr")), [
    "stdout: no end of line",
    'stdout: {"type":"metric","name":"loss","value":99}',
    "log: two",
    "log: lines",
  ]);
  assert(lines.includes("stderr: to stderr"));
});

Deno.test("run() reports the first progress of a stage, however soon it comes", async () => {
  using project = new TestProject();
  project.task(
    "quick",
    `performance.now = () => 1;
     stage.progress(1, 2, "steps");
     stage.progress(1.5, 2, "steps");
     return "";`,
  );
  const { events } = await project.run({ quick: { task: "quick" } });
  assertEquals(
    events.flatMap((it) => it.type === "progress" ? [it.done] : []),
    [1],
  );
});

Deno.test("run() names files by paths that exist after the run", async () => {
  using project = new TestProject();
  project.task("make", "return params.text;");
  project.task(
    "check",
    `const [first] = stage.inputs.from;
     stage.log(first.path);
     Deno.writeTextFileSync(stage.output + "/out.txt", "");
     console.error("wrote " + stage.output + "/out.txt");
     throw new Error('"' + stage.inputs.from[10].path + '/out.txt" is damaged');`,
    { inputs: { from: { kind: "text", many: true } } },
  );
  const makers = Array.from({ length: 11 }, (_, n) => `make@n=${n}`);
  const { events } = await project.run({
    ...Object.fromEntries(
      makers.map((id, n) => [id, { task: "make", params: { text: `${n}` } }]),
    ),
    check: { task: "check", inputs: { from: makers } },
  });
  const damaged = project.path("out/test/make@n=10/out.txt");
  assertEquals(failure(events), `"${damaged}" is damaged`);
  assertEquals(Deno.readTextFileSync(damaged), "10");
  const lines = events.flatMap((event) =>
    event.type === "log" ? [event.line] : []
  );
  assert(lines.includes(project.path("out/test/make@n=0")), lines.join("\n"));
  assert(lines.includes("wrote output/out.txt"), lines.join("\n"));
});

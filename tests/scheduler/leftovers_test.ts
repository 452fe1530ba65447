/**
 * No process of a stage is left when the stage ends, nor when its scheduler is
 * killed; and no run folder.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { basename, join } from "node:path";
import { local } from "../../lib/scheduler/executors/local.ts";
import {
  liveRuns,
  makeRunFolder,
  sweepRuns,
} from "../../lib/scheduler/runs.ts";
import { readIfThere, seal } from "../../lib/files/files.ts";
import { Store } from "../../lib/store/store.ts";
import { processesOf } from "../soak/processes.ts";
import { until } from "../until.ts";
import { type SchedulerProcess, TestProject } from "./project.ts";

const ignore = Deno.build.os !== "linux";

/** A task that never ends. */
const FOREVER =
  "stage.log('begun'); await new Promise((resolve) => setTimeout(resolve, 1e6));";

/** A command that limits what a scheduler finds in PATH to these programs. */
function withOnly(project: TestProject, programs: readonly string[]): string[] {
  for (const program of programs) {
    project.write("bin/.keep", "");
    Deno.symlinkSync(`/usr/bin/${program}`, project.path("bin", program));
  }
  return ["/usr/bin/env", `PATH=${project.path("bin")}`];
}

function commandLine(pid: number): string[] {
  return readIfThere(`/proc/${pid}/cmdline`)?.split("\0") ?? [];
}

/** Processes on this machine that sleep for so many seconds. */
function sleepers(seconds: number): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name))
    .filter((pid) => pid > 0)
    .filter((pid) => {
      const [program, time] = commandLine(pid);
      return program === "sleep" && time === String(seconds);
    });
}

async function ranOnce(scheduler: SchedulerProcess): Promise<void> {
  const summary = await scheduler.end();
  assertEquals(
    summary?.type === "summary" && summary.ran,
    1,
    JSON.stringify(scheduler.events),
  );
}

for (const programs of [["unshare", "setpriv"], []]) {
  const found = programs.join(" and ") || "no program";

  Deno.test({
    ignore,
    name:
      `run() ends what a killed scheduler left, and runs again, with ${found} in PATH`,
    fn: async () => {
      using project = new TestProject();
      project.task("slow", FOREVER);
      const within = withOnly(project, programs);
      const killed = project.spawn({ slow: { task: "slow" } }, {}, within);
      await killed.event(({ type }) => type === "log");
      killed.process.kill("SIGKILL");
      await killed.end();
      project.task("slow", "return 1;");
      await ranOnce(project.spawn({ slow: { task: "slow" } }, {}, within));
      assertEquals(processesOf(project.folder), []);
    },
  });
}

Deno.test({
  ignore,
  name:
    "no stage survives the end of all that watches it, where there are PID namespaces",
  fn: async () => {
    using project = new TestProject();
    project.task("slow", FOREVER);
    const within = withOnly(project, ["unshare", "setpriv"]);
    const killed = project.spawn({ slow: { task: "slow" } }, {}, within);
    await killed.event(({ type }) => type === "log");
    const all = processesOf(project.folder);
    const stages = all.filter((pid) =>
      commandLine(pid)[0] === Deno.execPath() && pid !== killed.process.pid
    );
    assertEquals(stages.length, 1);
    const watchers = all.filter((pid) => !stages.includes(pid));
    assert(watchers.length > 1);
    new Deno.Command("kill", {
      args: ["-KILL", ...watchers.map(String)],
      stderr: "null",
    }).outputSync();
    await killed.end();
    await until(
      () => processesOf(project.folder).length === 0,
      "no process was left",
    );
  },
});

/**
 * Seconds for which no other process of this machine sleeps, not even in the
 * same test of another checkout.
 */
function unusualSeconds(): number {
  return 40_000_000 + Math.floor(Math.random() * 1e9);
}

/**
 * A task that leaves a program behind, which holds the task's standard error
 * and has neither its group nor its environment.
 */
function leaver(project: TestProject, seconds: number): void {
  project.task(
    "leaver",
    `const program = new Deno.Command("setsid", {
       args: ["env", "-i", "/usr/bin/env", "PATH=/usr/bin", "sh", "-c", "echo begun; exec sleep ${seconds}"],
       stdin: "null",
       stdout: "piped",
     }).spawn();
     await program.stdout.getReader().read();
     program.unref();
     return 1;`,
    { rest: 'permissions: { run: ["setsid"] },' },
  );
}

Deno.test({
  ignore,
  name:
    "run() ends a program that left the group and the environment of its stage",
  fn: async () => {
    using project = new TestProject();
    const seconds = unusualSeconds();
    leaver(project, seconds);
    await ranOnce(project.spawn({ leaver: { task: "leaver" } }));
    assertEquals(sleepers(seconds), []);
  },
});

Deno.test({
  ignore,
  name:
    "run() kills such a program with its stage when that does not heed an interrupt",
  fn: async () => {
    using project = new TestProject();
    const seconds = unusualSeconds();
    leaver(project, seconds);
    project.write(
      "tasks/leaver.ts",
      project.read("tasks/leaver.ts").replace(
        "return 1;",
        "Deno.addSignalListener('SIGTERM', () => {}); stage.log('left'); for (;;);",
      ),
    );
    const more = { grace: 0.3 };
    const scheduler = project.spawn({ leaver: { task: "leaver" } }, more);
    await scheduler.event(({ type }) => type === "log");
    await until(() => sleepers(seconds).length === 1, "the program slept");
    scheduler.process.kill("SIGINT");
    await scheduler.end();
    assertEquals(sleepers(seconds), []);
  },
});

Deno.test({
  ignore,
  name:
    "run() does not wait for such a program where there are no PID namespaces, and says that there are none",
  fn: async () => {
    using project = new TestProject();
    const seconds = unusualSeconds();
    leaver(project, seconds);
    const within = withOnly(project, ["setsid", "env", "sleep"]);
    const scheduler = project.spawn(
      { leaver: { task: "leaver" } },
      {},
      within,
    );
    await ranOnce(scheduler);
    await until(() => sleepers(seconds).length === 1, "the program slept");
    sleepers(seconds).forEach((pid) => Deno.kill(pid, "SIGKILL"));
    const lines = scheduler.events.flatMap((event) =>
      event.type === "log" ? [event.line] : []
    );
    assertMatch(
      lines.join("\n"),
      /^Programs that the stage starts may outlive it, since it has no PID namespace: "unshare" of util-linux 2.36 or later is not installed$/m,
    );
  },
});

Deno.test("sweepRuns() removes what killed schedulers of this host left, but of another host only what it has not used for 14 days", async () => {
  using project = new TestProject();
  const store = new Store(project.path("out/cache"));
  using folder = makeRunFolder(store, "p", "s", "0".repeat(64));
  const runs = store.path("runs");
  const old = Date.now() / 1000 - 15 * 24 * 60 * 60;
  /**
   * A run folder whose lock is free, as all locks of other hosts are where
   * locks work within one host only.
   */
  const leave = (name: string, host: string | undefined, more = {}) => {
    const { touched, logged } = { touched: true, logged: true, ...more };
    const path = join(runs, name);
    Deno.mkdirSync(path);
    Deno.writeTextFileSync(join(path, "log.jsonl"), "");
    if (host !== undefined) {
      Deno.writeTextFileSync(join(path, "run.json"), seal({ host }));
    }
    if (!logged) Deno.utimeSync(join(path, "log.jsonl"), old, old);
    if (!touched) Deno.utimeSync(path, old, old);
  };
  leave("1-00000001-0-own", Deno.hostname());
  leave("1-00000002-0-other", "other");
  leave("1-00000003-0-long", "other", { touched: false });
  leave("1-00000004-0-old", "other", { touched: false, logged: false });
  leave("1-00000005-0-new", undefined);
  await sweepRuns(store, local);
  assertEquals(
    [...Deno.readDirSync(runs)].map(({ name }) => name).sort(),
    [
      "1-00000002-0-other",
      "1-00000003-0-long",
      basename(folder.path),
    ].sort(),
  );
});

Deno.test("liveRuns() does not touch the lock of a run folder that another process is creating", () => {
  using project = new TestProject();
  const store = new Store(project.path("out/cache"));
  const name = "1-00000001-0-new";
  Deno.mkdirSync(join(store.makeFolder("runs"), name));
  // Whoever tries to lock this fails.
  Deno.mkdirSync(join(store.makeFolder("locks"), `run-${name}`));
  assertEquals(liveRuns(store), []);
});

import {
  assert,
  assertEquals,
  assertIsError,
  assertMatch,
  assertRejects,
} from "@std/assert";
import {
  explain,
  type Explanation,
  type NearestResult,
} from "../../lib/scheduler/plan.ts";
import { readLog } from "../../lib/scheduler/journal.ts";
import { openStageLog } from "../../lib/scheduler/results.ts";
import { status } from "../../lib/scheduler/plan.ts";
import { isWritten } from "../../lib/scheduler/runs.ts";
import { verify } from "../../lib/scheduler/verify.ts";
import { tryLockFile } from "../../lib/files/locks.ts";
import { Memo } from "../../lib/store/memo.ts";
import { Store } from "../../lib/store/store.ts";
import { type StageOptions, TestProject } from "./project.ts";
import { gateOf } from "./span_tasks.ts";

const NEVER = new AbortController().signal;

/** The result with which an explanation compares the stage. */
function nearestOf(explanation: Explanation): NearestResult {
  assert("parts" in explanation && explanation.nearest !== undefined);
  return explanation.nearest;
}

Deno.test("explain() names the parameter, the input and the line of code that changed", async () => {
  using project = new TestProject();
  project.write(
    "lib/text.ts",
    "// A comment\nexport function twice(text: string) {\n  const one = text;\n  return one + one;\n}\n",
  );
  const head = 'import { twice } from "../lib/text.ts";';
  project.task("make", "return twice(params.text);", { head });
  project.task("upper", "return read('from').toUpperCase();", {
    inputs: { from: { kind: "text" } },
  });
  const stages = (text: string): Record<string, StageOptions> => ({
    a: { task: "make", params: { text, deep: { size: 1 } } },
    up: { task: "upper", inputs: { from: ["a"] } },
  });
  await project.run(stages("a"));
  project.write(
    "lib/text.ts",
    "// Another comment\n\nexport function twice(text: string) {\n  const one = text;\n  return one + one + one;\n}\n",
  );
  const graph = await project.graph(stages("b"));
  const explained = await explain(graph, "a", project.settings());
  assertEquals(explained.decision.state, "run");
  const { changes, code } = nearestOf(explained);
  assertEquals(changes.map(({ kind, name }) => `${kind} ${name}`), [
    "code lib/text.ts",
    "param text",
  ]);
  assertEquals(code, [{
    module: "lib/text.ts",
    from: 5,
    to: 5,
    removed: ["  return one + one;"],
    added: ["  return one + one + one;"],
  }]);
  assertEquals((await explain(graph, "up", project.settings())).decision, {
    state: "unknown",
    reason: "needs a first",
  });
  await project.run({ a: stages("b").a! });
  const downstream = await explain(graph, "up", project.settings());
  assertMatch(
    "reason" in downstream.decision ? downstream.decision.reason : "",
    /^input from [0-9a-f]{8} -> [0-9a-f]{8}$/,
  );
});

Deno.test("explain() shows no statements and names that the bundler makes", async () => {
  using project = new TestProject();
  project.write("lib/a.ts", "export const wait = await Promise.resolve(1);\n");
  project.write(
    "lib/b.ts",
    "const count = (n: number) => n;\nexport const b = (n: number) => count(n) + 1;\n",
  );
  const task = (imports: string, body: string) =>
    project.task("make", `const late = await import("../lib/b.ts"); ${body}`, {
      head: `import { wait } from "../lib/a.ts";\n${imports}`,
    });
  task("", "return late.b(wait);");
  await project.run({ s: { task: "make" } });
  project.write("lib/0.ts", "export const count = await Promise.resolve(2);\n");
  task('import { count } from "../lib/0.ts";', "return late.b(wait + count);");
  const graph = await project.graph({ s: { task: "make" } });
  const explained = await explain(graph, "s", project.settings());
  const { code } = nearestOf(explained);
  assertEquals(code, [{
    module: "tasks/make.ts",
    from: 16,
    to: 16,
    removed: ["    return late.b(wait);"],
    added: ["    return late.b(wait + count);"],
  }]);
});

Deno.test("explain() shows the changed statement alone, with the line of its change", async () => {
  using project = new TestProject();
  project.write(
    "lib/a.ts",
    'import * as z from "zod";\nexport const name = z.string();\n',
  );
  const task = (more: number) =>
    project.task("make", "return params.more;", {
      head: 'import { name } from "../lib/a.ts";',
      params:
        `{\n  name: name.default("a"),\n  more: z.number().default(${more}),\n}`,
    });
  task(1);
  await project.run({ s: { task: "make" } });
  task(2);
  const graph = await project.graph({ s: { task: "make" } });
  const { code } = nearestOf(await explain(graph, "s", project.settings()));
  const lines = code.map((
    { from, to, removed, added },
  ) => [from, to, removed.length, added.length]);
  assertEquals(lines, [[7, 7, 1, 1]]);
});

Deno.test("explain() names changed, new and removed files of a source folder", async () => {
  using project = new TestProject();
  for (const name of ["a", "b", "sub/c"]) project.write(`data/${name}`, name);
  project.task(
    "count",
    "return [...Deno.readDirSync(params.data)].length;",
    { rest: "sources: (params: any) => ({ data: params.data })," },
  );
  const stages = { s: { task: "count", params: { data: "data" } } };
  await project.run(stages);
  project.write("data/a", "other");
  Deno.removeSync(project.path("data/b"));
  project.write("data/sub/d", "d");
  const graph = await project.graph(stages);
  const explained = await explain(graph, "s", project.settings());
  const { decision } = explained;
  assertEquals(
    decision.state === "run" ? decision.reason : "",
    "source data data/a changed, source data data/b was removed, source data data/sub/d is new",
  );
  assertEquals(nearestOf(explained).changes.length, 3);
  await project.run(stages, { cacheLimit: 1 });
  project.write("data/a", "third");
  const { reason } = (await explain(graph, "s", project.settings()))
    .decision as { reason: string };
  assertEquals(reason, "source data data/a changed");
});

Deno.test("explain() names a source that a stage no longer has", async () => {
  using project = new TestProject();
  project.write("a", "first");
  project.write("b", "second");
  project.task(
    "read",
    "return Deno.readTextFileSync(params.a).length;",
    { rest: "sources: (params: any) => params," },
  );
  const stagesOf = (params: Record<string, string>) => (
    { s: { task: "read", params } }
  );
  await project.run(stagesOf({ a: "a", b: "b" }));
  const graph = await project.graph(stagesOf({ a: "a" }));
  const { decision } = await explain(graph, "s", project.settings());
  assertEquals(
    decision.state === "run" ? decision.reason : "",
    "source b was removed",
  );
});

Deno.test("openStageLog() finds the log of a result, of a failed run and of a run in progress", async () => {
  using project = new TestProject();
  const store = new Store(project.path("out/cache"));
  const find = async () => {
    const graph = await project.graph({ s: { task: "say" } });
    return await openStageLog(graph, "s", project.settings(), store);
  };
  const gate = gateOf(project);
  const lines = async () => {
    const lines: string[] = [];
    for await (const line of readLog(await find(), true)) {
      if (line.type === "log") lines.push(line.line);
      if (lines.includes("first")) gate.open();
    }
    return lines;
  };
  project.task("say", "stage.log('fine'); return 1;");
  await assertRejects(find, Error, 'Stage "s" has no result yet');
  await project.run({ s: { task: "say" } });
  assertEquals(await lines(), ["fine"]);
  project.task("say", "stage.log('wrong'); throw new Error('x');");
  await project.run({ s: { task: "say" } });
  assert((await lines()).includes("wrong"));
  project.task(
    "say",
    `stage.log('first'); ${gate.wait()} stage.log('last'); return 1;`,
    { rest: gate.permissions },
  );
  const scheduler = project.spawn({ s: { task: "say" } });
  await scheduler.event((event) => event.type === "log");
  assertEquals(await lines(), ["first", "last"]);
  await scheduler.end();
});

Deno.test("openStageLog() finds the log of a run that ends while it looks", async () => {
  using project = new TestProject();
  const gate = gateOf(project);
  project.task("say", `stage.log("fine"); ${gate.wait()} return 1;`, {
    rest: gate.permissions,
  });
  const stages = { s: { task: "say" } };
  const graph = await project.graph(stages);
  const scheduler = project.spawn(stages);
  await scheduler.event((event) => event.type === "log");
  class SlowMemo extends Memo {
    // Called between the look at results and the end of the search.
    override async save(): Promise<void> {
      gate.open();
      await scheduler.end();
    }
  }
  class SlowStore extends Store {
    override readonly memo = new SlowMemo(this.path("memo.json"));
  }
  const store = new SlowStore(project.path("out/cache"));
  const found = await openStageLog(graph, "s", project.settings(), store);
  const lines = await Array.fromAsync(readLog(found, false));
  assert(lines.some((it) => it.type === "log" && it.line === "fine"));
});

Deno.test("readLog() stops following when the scheduler is killed", async () => {
  using project = new TestProject();
  const store = new Store(project.path("out/cache"));
  project.task(
    "slow",
    "stage.log('begun'); await new Promise((r) => setTimeout(r, 1e6));",
  );
  const scheduler = project.spawn({ s: { task: "slow" } });
  await scheduler.event((event) => event.type === "log");
  const lines = [];
  const graph = await project.graph({ s: { task: "slow" } });
  const found = await openStageLog(graph, "s", project.settings(), store);
  for await (const line of readLog(found, true)) {
    lines.push(line.type);
    if (line.type === "log") scheduler.process.kill("SIGKILL");
  }
  assertEquals(lines, ["started", "log"]);
  await scheduler.end();
});

Deno.test("readLog() throws when the log is damaged, and openStageLog() when it was removed", async () => {
  using project = new TestProject();
  const store = new Store(project.path("out/cache"));
  project.task("say", "stage.log('fine'); return 1;");
  await project.run({ s: { task: "say" } });
  const graph = await project.graph({ s: { task: "say" } });
  const open = () => openStageLog(graph, "s", project.settings(), store);
  const lines = await open();
  Deno.chmodSync(lines.path, 0o644);
  Deno.writeTextFileSync(lines.path, '{"at":\n');
  assertIsError(
    await assertRejects(() => Array.fromAsync(readLog(lines, false))),
    Error,
    /^The log ".*" is damaged; run/,
  );
  Deno.removeSync(lines.path);
  await assertRejects(open, Error, 'Stage "s" has no up-to-date result');
});

Deno.test("plan() and explain() wait for a clean-up in progress", async () => {
  using project = new TestProject();
  project.task("make", "return 1;");
  const stages = { s: { task: "make" } };
  await project.run(stages);
  const graph = await project.graph(stages);
  const store = new Store(project.path("out/cache"));
  for (
    const ask of [
      () => project.plan(stages),
      () => explain(graph, "s", project.settings()),
    ]
  ) {
    const cleanUp = tryLockFile(store.path("cleanup.lock"))!;
    let answered = false;
    const answer = ask().then(() => answered = true);
    await new Promise((resolve) => setTimeout(resolve, 150));
    assertEquals(answered, false);
    cleanUp[Symbol.dispose]();
    assertEquals(await answer, true);
  }
});

Deno.test("status() returns running stages of these parameters, latest results and failures", async () => {
  using project = new TestProject();
  project.task("make", "stage.metric('n', 2); return 1;");
  const gate = gateOf(project);
  project.task("slow", `stage.log('begun'); ${gate.wait()}`, {
    rest: gate.permissions,
  });
  project.task("bad", "throw new Error('Not today');");
  const stages: Record<string, StageOptions> = {
    make: { task: "make" },
    bad: { task: "bad" },
    slow: { task: "slow" },
  };
  const scheduler = project.spawn(stages);
  await scheduler.event((event) =>
    event.type === "finished" && event.stage === "make"
  );
  await scheduler.event((event) => event.type === "failed");
  await scheduler.event((event) => event.type === "log");
  const ask = async (more: Record<string, StageOptions> = {}) =>
    await status(
      await project.graph({ ...stages, ...more }),
      project.settings(),
    );
  const [make, bad, slow] = await ask();
  const [, otherBad, other] = await ask({
    bad: { task: "bad", params: { n: 1 } },
    slow: { task: "slow", params: { n: 1 } },
  });
  gate.open();
  await scheduler.end();
  assertEquals(make?.decision.state, "unchanged");
  assertEquals(make?.last?.metrics, { n: 2 });
  assertEquals(bad?.unfinished?.message, "Not today");
  assertMatch(slow?.live?.holder ?? "", /^process \d+$/);
  assertEquals(other?.live, undefined, "of other parameters");
  assertEquals(otherBad?.unfinished, undefined, "of other parameters");
});

Deno.test("verify() compares a second run with the cached result, and changes neither cache nor output", async () => {
  using project = new TestProject();
  project.task("same", "return 1;");
  project.task("random", "return crypto.randomUUID();");
  const stages: Record<string, StageOptions> = {
    same: { task: "same" },
    random: { task: "random" },
  };
  await project.run(stages);
  const before = project.read("out/test/random/out.txt");
  const graph = await project.graph(stages);
  const check = async (id: string) =>
    (await verify(graph, id, project.settings(), () => {}, NEVER, (it) => it))
      .differing;
  assertEquals(await check("same"), {});
  assertEquals(await check("random"), { "out.txt": "out.txt" });
  assertEquals(project.read("out/test/random/out.txt"), before);
  assertEquals((await project.run(stages)).summary.unchanged, 2);
});

Deno.test("readLog() reads the log of a stage that verify() runs again", async () => {
  using project = new TestProject();
  const store = new Store(project.path("out/cache"));
  const gate = gateOf(project);
  project.task("say", `stage.log('fine'); ${gate.wait()} return 1;`, {
    rest: gate.permissions,
  });
  const stages = { s: { task: "say" } };
  gate.open();
  await project.run(stages);
  gate.close();
  const graph = await project.graph(stages);
  const lines: string[] = [];
  const read = async () => {
    const found = await openStageLog(graph, "s", project.settings(), store);
    assert(isWritten(found.path));
    for await (const line of readLog(found, true)) {
      if (line.type !== "log") continue;
      lines.push(line.line);
      gate.open();
    }
  };
  let reading: Promise<void> | undefined;
  await verify(
    graph,
    "s",
    project.settings(),
    () => reading ??= read(),
    NEVER,
    (it) => it,
  );
  await reading;
  assertEquals(lines, ["fine"]);
});

import { assert, assertEquals, assertMatch } from "@std/assert";
import { linesOf } from "../../lines.ts";
import { type Called, CliProject, RANKS_PIPELINE } from "../project.ts";

/** Ids of the stages that ran. */
function ran(called: Called): string[] {
  return called.json().flatMap((it) =>
    it.type === "finished" && it.outcome === "ran" ? [it.stage] : []
  ).sort();
}

/**
 * Modules of Node that a command runs, as its profile shows: the first one, or
 * the first timer, takes 8 ms.
 */
async function builtinsOf(
  project: CliProject,
  ...command: [string, ...string[]]
): Promise<string[]> {
  const folder = project.path("profile");
  const flags = ["--cpu-prof-interval=100", `--cpu-prof-dir=${folder}`];
  const { code } = await project.callWith(
    { flags: ["--cpu-prof", ...flags] },
    ...command,
  );
  assertEquals(code, 0);
  const [profile] = [...Deno.readDirSync(folder)];
  const text = project.read(`profile/${profile!.name}`);
  assertMatch(text, /\/lib\/scheduler\/scheduler\.ts"/);
  return [...new Set(text.match(/"(?:ext:deno_node\/|node:)[^"]*/g))];
}

Deno.test("pipeline says first what its pipeline is for, but not as JSON", async () => {
  using project = new CliProject(
    RANKS_PIPELINE.replace("\n", "\ndescription: Joins synthetic texts\n"),
  );
  const { lines } = await project.call("pipeline", "start");
  assertEquals(lines[0], "Joins synthetic texts");
  const { stdout } = await project.call("pipeline", "start", "--json");
  assert(!stdout.includes("Joins"), stdout);
});

Deno.test("pipeline runs everything, then nothing, then what a parameter changes", async () => {
  using project = new CliProject(RANKS_PIPELINE);
  const first = await project.call("pipeline", "--json");
  assertEquals(first.code, 0, first.stderr);
  const summary = first.json().at(-1);
  assertEquals({ ...summary, seconds: 0 }, {
    type: "summary",
    ran: 7,
    restored: 0,
    unchanged: 0,
    failed: 0,
    skipped: 0,
    interrupted: 0,
    seconds: 0,
    savedSeconds: 0,
  });
  assert(summary.seconds > 0);
  assertMatch(
    first.lines.at(-1)!,
    /^\{"type":"summary","ran":7,"restored":0,"unchanged":0,"failed":0,/,
  );
  assertEquals(first.json()[0].type, "start");
  const text = project.read("out/test/end/out.txt");
  assertMatch(text, /^start one\nmrpc 1\nstart one\nmrpc 2\n.*other\nend\n$/s);

  // The graph is saved for the next run when its sources are two seconds old.
  const { mtime } = Deno.statSync(project.path("tasks/make.ts"));
  const age = Date.now() - mtime!.getTime();
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, 2100 - age)));
  const second = await project.call("pipeline");
  assertEquals(second.code, 0);
  assertMatch(
    second.lines.at(-1)!,
    /^Nothing to do: 7 stages unchanged, in [\d.]+ s(?:; the cache saved [\d.]+ s)?$/,
  );

  assertEquals(await builtinsOf(project, "pipeline", "--json"), []);

  const third = await project.call("pipeline", "-S", "last=finish");
  assertEquals(third.lines.slice(0, 3), [
    'end: run - param text "end" -> "finish"',
    "end | makes finish",
    third.lines[2]!,
  ]);
  assertMatch(third.lines[2]!, /^end: done in [\d.]+ s$/);
  assertMatch(third.stdout, /\nother\nfinish\n/);
  assertMatch(
    third.lines.at(-1)!,
    /^7 stages: 1 ran, 6 unchanged, in [\d.]+ s(?:; the cache saved [\d.]+ s)?$/,
  );

  project.edit("test.yaml", "text: other", "text: other, size: 1");
  const same = await project.call("plan", "other", "--exit-code");
  assertEquals(same.code, 0, "a default that is written out changes nothing");
});

Deno.test("pipeline runs named stages and what they need, and forces only these", async () => {
  using project = new CliProject(RANKS_PIPELINE);
  const named = await project.call(
    "pipeline",
    "middle@mrpc",
    "oth*",
    "--json",
  );
  assertEquals(named.code, 0, named.stderr);
  assertEquals(ran(named), [
    "middle@mrpc,rank=1",
    "middle@mrpc,rank=2",
    "other",
    "start",
  ]);
  const forced = await project.call(
    "pipeline",
    "middle@*rank=2",
    "--force",
    "--json",
  );
  assertEquals(ran(forced), ["middle@cola,rank=2", "middle@mrpc,rank=2"]);
  assertEquals(forced.json().at(-1).unchanged, 1);
  assertEquals(project.exists("out/test/end"), false);
});

Deno.test("pipeline exits with 1 after a failure, and continues only with --keep-going", async () => {
  using project = new CliProject(`name: test
stages:
  bad: { task: make, with: { text: bad, fail: true } }
  after: { task: make, with: { text: after }, inputs: { from: bad } }
  slow: { task: make, with: { text: slow }, inputs: { from: first } }
  first: { task: make, with: { text: first, waits: GO } }
`);
  const process = project.spawn("pipeline", "--jobs", "2", "--cpus", "2");
  const lines: string[] = [];
  for await (const line of linesOf(process.stdout)) {
    lines.push(line);
    const hasBegun = lines.includes("first | makes first");
    if (hasBegun && lines.some((it) => it.startsWith("bad: failed"))) {
      project.write("go", "");
    }
  }
  await process.stderr.cancel();
  assertEquals((await process.status).code, 1);
  const stopped = lines.join("\n");
  assertMatch(stopped, /^bad: failed - Told to fail\n {2}log: .*bad/m);
  assertMatch(stopped, /^after: skipped - bad failed$/m);
  assertMatch(stopped, /^slow: skipped - stopped after a failure$/m);
  assertMatch(lines.at(-1)!, /1 ran, 1 failed, 2 skipped/);
  const going = await project.call("pipeline", "--keep-going");
  assertEquals(going.code, 1);
  assertMatch(going.stdout, /^slow: done/m);
  assertMatch(going.lines.at(-1)!, /1 ran, 1 unchanged, 1 failed, 1 skipped/);
});

Deno.test("pipeline exits with 5 if a stage ends without its output", async () => {
  using project = new CliProject(`name: test
stages:
  none: { task: make, with: { text: x, empty: true } }
`);
  const { code, stdout } = await project.call("pipeline");
  assertEquals(code, 5);
  assertMatch(stdout, /none: failed - The stage did not write "out.txt"/);
});

Deno.test("pipeline refuses --detach unless stages run on Slurm", async () => {
  using project = new CliProject(RANKS_PIPELINE);
  const { code, stderr } = await project.call("pipeline", "--detach");
  assertEquals(code, 2, stderr);
  assertMatch(stderr, /^Option "--detach" requires "--executor slurm": /m);
});

Deno.test("pipeline --no-wait exits with 3 while another process runs the stage", async () => {
  using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, waits: GO } }
`);
  const process = project.spawn("pipeline", "--json");
  for await (const line of linesOf(process.stdout)) {
    if (!line.includes('"metric"')) continue;
    const busy = await project.call("pipeline", "--no-wait");
    assertEquals(busy.code, 3, busy.stdout);
    assertMatch(busy.stderr, /^"long" would have to wait for process \d+/);
    const waiting = project.spawn("pipeline", "--json");
    const lines: string[] = [];
    for await (const line of linesOf(waiting.stdout)) {
      lines.push(line);
      // A run that decides while the first one stores its result would restore
      // it.
      if (line.includes("Waiting for process")) project.write("go", "");
    }
    assertEquals((await waiting.status).code, 0);
    await waiting.stderr.cancel();
    assertEquals(JSON.parse(lines.at(-1)!).unchanged, 1);
  }
  assertEquals((await process.status).code, 0);
  await process.stderr.cancel();
});

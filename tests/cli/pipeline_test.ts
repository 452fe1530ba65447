import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
} from "@std/assert";
import { type Called, CliProject } from "./project.ts";

const PIPELINE = `name: test
params: { word: one, last: end, extra: {} }
show: end/out.txt
stages:
  start: { task: make, with: { text: "start \${params.word}" } }
  middle:
    task: make
    matrix: { glue: [mrpc, cola], rank: [1, 2] }
    with: { text: "\${matrix.glue} \${matrix.rank}" }
    inputs: { from: start }
  other: { task: make, with: { text: other, <<: \${params.extra} } }
  end:
    task: make
    with: { text: \${params.last} }
    inputs: { from: [middle[*], other] }
`;

/** Ids of the stages that ran. */
function ran(called: Called): string[] {
  return called.json().flatMap((it) =>
    it.type === "finished" && it.outcome === "ran" ? [it.stage] : []
  ).sort();
}

Deno.test("pipeline runs everything, then nothing, then what a parameter changes", async () => {
  using project = new CliProject(PIPELINE);
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
    seconds: 0,
  });
  assert(summary.seconds > 0);
  assertMatch(
    first.lines.at(-1)!,
    /^\{"type":"summary","ran":7,"restored":0,"unchanged":0,"failed":0,"seconds":[\d.]+[,}]/,
  );
  assertEquals(first.json()[0].type, "start");
  const text = project.read("out/test/end/out.txt");
  assertMatch(text, /^start one\nmrpc 1\nstart one\nmrpc 2\n.*other\nend\n$/s);

  const second = await project.call("pipeline");
  assertEquals(second.code, 0);
  assertMatch(
    second.lines.at(-1)!,
    /^Nothing to do: 7 stages unchanged, in [\d.]+ s$/,
  );

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
    /^7 stages: 1 ran, 6 unchanged, in [\d.]+ s$/,
  );

  project.edit("test.yaml", "text: other", "text: other, size: 1");
  const same = await project.call("plan", "other", "--exit-code");
  assertEquals(same.code, 0, "a default that is written out changes nothing");
});

Deno.test("pipeline runs named stages and what they need, and forces only these", async () => {
  using project = new CliProject(PIPELINE);
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

Deno.test("pipeline --dry-run and plan say what would be done, and do nothing", async () => {
  using project = new CliProject(PIPELINE);
  const dry = await project.call("pipeline", "--dry-run", "--json");
  assertEquals(dry.code, 0);
  const { seconds, ...summary } = dry.json().at(-1);
  assert(seconds > 0);
  assertEquals(summary, {
    type: "summary",
    ran: 0,
    restored: 0,
    unchanged: 0,
    failed: 0,
    planned: { run: 2, restore: 0, unchanged: 0, unknown: 5, skip: 0 },
  });
  assertEquals(project.exists("out/test"), false);
  const work = await project.call("plan", "other", "--exit-code");
  assertEquals(work.code, 10);
  assertMatch(work.lines[0]!, /^run +other +no earlier result$/);
  assertMatch(work.lines[1]!, /^1 stage: 1 to run, 0 unchanged, in /);
  await project.call("pipeline", "other");
  const none = await project.call("plan", "other", "--exit-code");
  assertEquals(none.code, 0);
  assertMatch(none.lines[0]!, /^unchanged +other$/);
  Deno.removeSync(project.path("out/test/other"), { recursive: true });
  const restore = await project.call("plan", "other", "--exit-code");
  assertEquals(restore.code, 10);
  assertMatch(restore.lines[0]!, /^restore +other +output is missing$/);
});

Deno.test("pipeline exits with 1 after a failure, and goes on only with --keep-going", async () => {
  using project = new CliProject(`name: test
stages:
  bad: { task: make, with: { text: bad, fail: true } }
  after: { task: make, with: { text: after }, inputs: { from: bad } }
  slow: { task: make, with: { text: slow }, inputs: { from: first } }
  first: { task: make, with: { text: first, seconds: 1.5 } }
`);
  const stopped = await project.call("pipeline");
  assertEquals(stopped.code, 1);
  assertMatch(stopped.stdout, /^bad: failed - Told to fail\n {2}log: .*bad/m);
  assertMatch(stopped.stdout, /^after: skipped - bad failed$/m);
  assertMatch(stopped.stdout, /^slow: skipped - stopped after a failure$/m);
  assertMatch(stopped.lines.at(-1)!, /1 ran, 1 failed, 2 skipped/);
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

Deno.test("pipeline stops at Ctrl-C with 130 and leaves nothing running", async () => {
  for (
    const [signal, expected] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
      ["SIGHUP", 129],
    ] as const
  ) {
    using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, seconds: 60 } }
  after: { task: make, with: { text: after }, inputs: { from: long } }
`);
    const process = project.spawn("pipeline", "--json");
    const lines: string[] = [];
    for await (
      const chunk of process.stdout.pipeThrough(new TextDecoderStream())
    ) {
      lines.push(...chunk.split("\n").filter((it) => it !== ""));
      if (chunk.includes('"metric"')) process.kill(signal);
    }
    const { code } = await process.status;
    await process.stderr.cancel();
    assertEquals(code, expected);
    const events = lines.map((line) => JSON.parse(line));
    assertEquals(events.at(-1).type, "summary");
    assertEquals(events.at(-1).ran, 0);
    assert(events.some((it) => it.type === "failed" && it.stage === "long"));
  }
});

Deno.test("pipeline --no-wait exits with 3 while another process runs the stage", async () => {
  using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, seconds: 3 } }
`);
  const process = project.spawn("pipeline", "--json");
  for await (
    const chunk of process.stdout.pipeThrough(new TextDecoderStream(), {
      preventCancel: true,
    })
  ) {
    if (!chunk.includes('"metric"')) continue;
    const busy = await project.call("pipeline", "--no-wait");
    assertEquals(busy.code, 3, busy.stdout);
    assertMatch(busy.stderr, /^"long" is being run by process \d+/);
    const waited = await project.call("pipeline", "--json");
    assertEquals(waited.code, 0);
    assertEquals(waited.json().at(-1).unchanged, 1);
    break;
  }
  assertEquals((await process.status).code, 0);
  await process.stderr.cancel();
});

Deno.test("pipeline notices every change that a kept graph depends on", async () => {
  using project = new CliProject(PIPELINE);
  const old = new Date(Date.now() - 60_000);
  const settle = async () => {
    for (const file of ["tasks/make.ts", "test.yaml"]) {
      Deno.utimeSync(project.path(file), old, old);
    }
    // The inode's own time cannot be set back.
    await new Promise((resolve) => setTimeout(resolve, 2100));
  };
  await settle();
  assertEquals((await project.call("pipeline")).code, 0);
  const kept = () => [...Deno.readDirSync(project.path("out/cache/graphs"))];
  assertEquals(kept().length, 1);
  const planned = async () => {
    const { lines } = await project.call("plan");
    return lines.slice(0, -1).map((line) => line.split(/ +/)[0]);
  };
  assertEquals(new Set(await planned()), new Set(["unchanged"]));

  project.edit("test.yaml", "text: other", "text: OTHER");
  assertNotEquals((await planned()).indexOf("run"), -1);
  project.edit("test.yaml", "text: OTHER", "text: other");
  assertEquals(new Set(await planned()), new Set(["unchanged"]));

  // A default of a task's schema, of the same length, in the same second.
  project.edit("tasks/make.ts", "default(1)", "default(2)");
  const { lines } = await project.call("explain", "other");
  assertMatch(lines.join("\n"), /param size: 1 -> 2/);
});

Deno.test("pipeline ends at once at the second Ctrl-C, and its stages with it", async () => {
  using project = new CliProject(`name: test
stages:
  deaf: { task: deaf }
`);
  project.write(
    "tasks/deaf.ts",
    `import { z } from "zod";
export default {
  description: "Does not heed an interrupt",
  params: z.object({}),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  async run(stage) {
    stage.log("process " + Deno.pid);
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  },
};
`,
  );
  const process = project.spawn("pipeline", "--json");
  let child = 0;
  let interrupts = 0;
  for await (
    const chunk of process.stdout.pipeThrough(new TextDecoderStream())
  ) {
    child ||= Number(/"process (\d+)"/.exec(chunk)?.[1] ?? 0);
    if (child > 0 && interrupts < 2) {
      interrupts++;
      process.kill("SIGINT");
    }
  }
  assertEquals((await process.status).code, 130);
  await process.stderr.cancel();
  for (let tries = 0; isAlive(child); tries++) {
    assert(tries < 100, `process ${child} is left`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

function isAlive(process: number): boolean {
  try {
    return !/^State:\s+Z/m.test(
      Deno.readTextFileSync(`/proc/${process}/status`),
    );
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

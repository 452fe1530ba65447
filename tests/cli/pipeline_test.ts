import {
  deepStrictEqual,
  match,
  notStrictEqual,
  ok,
  strictEqual,
} from "node:assert/strict";
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
  strictEqual(first.code, 0, first.stderr);
  const summary = first.json().at(-1);
  deepStrictEqual(
    { ...summary, seconds: 0 },
    {
      type: "summary",
      ran: 7,
      restored: 0,
      unchanged: 0,
      failed: 0,
      skipped: 0,
      seconds: 0,
    },
  );
  ok(summary.seconds > 0);
  match(
    first.lines.at(-1)!,
    /^\{"type":"summary","ran":7,"restored":0,"unchanged":0,"failed":0,"seconds":[\d.]+[,}]/,
  );
  deepStrictEqual(first.json()[0].type, "start");
  const text = project.read("out/test/end/out.txt");
  match(text, /^start one\nmrpc 1\nstart one\nmrpc 2\n.*other\nend\n$/s);

  const second = await project.call("pipeline");
  strictEqual(second.code, 0);
  match(
    second.lines.at(-1)!,
    /^Nothing to do: 7 stages unchanged, in [\d.]+ s$/,
  );

  const third = await project.call("pipeline", "-S", "last=finish");
  deepStrictEqual(third.lines.slice(0, 3), [
    'end: run - param text "end" -> "finish"',
    "end | makes finish",
    third.lines[2]!,
  ]);
  match(third.lines[2]!, /^end: done in [\d.]+ s$/);
  match(third.stdout, /\nother\nfinish\n/);
  match(third.lines.at(-1)!, /^7 stages: 1 ran, 6 unchanged, in [\d.]+ s$/);

  project.edit("test.yaml", "text: other", "text: other, size: 1");
  const same = await project.call("plan", "other", "--exit-code");
  strictEqual(same.code, 0, "a default that is written out changes nothing");
});

Deno.test("pipeline runs named stages and what they need, and forces only these", async () => {
  using project = new CliProject(PIPELINE);
  const named = await project.call(
    "pipeline",
    "middle@mrpc",
    "oth*",
    "--json",
  );
  strictEqual(named.code, 0, named.stderr);
  deepStrictEqual(ran(named), [
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
  deepStrictEqual(ran(forced), ["middle@cola,rank=2", "middle@mrpc,rank=2"]);
  strictEqual(forced.json().at(-1).unchanged, 1);
  strictEqual(project.exists("out/test/end"), false);
});

Deno.test("pipeline --dry-run and plan say what would be done, and do nothing", async () => {
  using project = new CliProject(PIPELINE);
  const dry = await project.call("pipeline", "--dry-run", "--json");
  strictEqual(dry.code, 0);
  const { seconds, ...summary } = dry.json().at(-1);
  ok(seconds > 0);
  deepStrictEqual(summary, {
    type: "summary",
    ran: 0,
    restored: 0,
    unchanged: 0,
    failed: 0,
    planned: { run: 2, restore: 0, unchanged: 0, unknown: 5, skip: 0 },
  });
  strictEqual(project.exists("out/test"), false);
  const work = await project.call("plan", "other", "--exit-code");
  strictEqual(work.code, 10);
  match(work.lines[0]!, /^run +other +no earlier result$/);
  match(work.lines[1]!, /^1 stage: 1 to run, 0 unchanged, in /);
  await project.call("pipeline", "other");
  const none = await project.call("plan", "other", "--exit-code");
  strictEqual(none.code, 0);
  match(none.lines[0]!, /^unchanged +other$/);
  Deno.removeSync(project.path("out/test/other"), { recursive: true });
  const restore = await project.call("plan", "other", "--exit-code");
  strictEqual(restore.code, 10);
  match(restore.lines[0]!, /^restore +other +output is missing$/);
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
  strictEqual(stopped.code, 1);
  match(stopped.stdout, /^bad: failed - Told to fail\n {2}log: .*bad/m);
  match(stopped.stdout, /^after: skipped - bad failed$/m);
  match(stopped.stdout, /^slow: skipped - stopped after a failure$/m);
  match(stopped.lines.at(-1)!, /1 ran, 1 failed, 2 skipped/);
  const going = await project.call("pipeline", "--keep-going");
  strictEqual(going.code, 1);
  match(going.stdout, /^slow: done/m);
  match(going.lines.at(-1)!, /1 ran, 1 unchanged, 1 failed, 1 skipped/);
});

Deno.test("pipeline exits with 5 if a stage ends without its output", async () => {
  using project = new CliProject(`name: test
stages:
  none: { task: make, with: { text: x, empty: true } }
`);
  const { code, stdout } = await project.call("pipeline");
  strictEqual(code, 5);
  match(stdout, /none: failed - The stage did not write "out.txt"/);
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
    strictEqual(code, expected);
    const events = lines.map((line) => JSON.parse(line));
    strictEqual(events.at(-1).type, "summary");
    deepStrictEqual(events.at(-1).ran, 0);
    ok(events.some((it) => it.type === "failed" && it.stage === "long"));
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
    strictEqual(busy.code, 3, busy.stdout);
    match(busy.stderr, /^"long" is being run by process \d+/);
    const waited = await project.call("pipeline", "--json");
    strictEqual(waited.code, 0);
    strictEqual(waited.json().at(-1).unchanged, 1);
    break;
  }
  strictEqual((await process.status).code, 0);
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
  strictEqual((await project.call("pipeline")).code, 0);
  const kept = () => [...Deno.readDirSync(project.path("out/cache/graphs"))];
  strictEqual(kept().length, 1);
  const planned = async () => {
    const { lines } = await project.call("plan");
    return lines.slice(0, -1).map((line) => line.split(/ +/)[0]);
  };
  deepStrictEqual(new Set(await planned()), new Set(["unchanged"]));

  project.edit("test.yaml", "text: other", "text: OTHER");
  notStrictEqual((await planned()).indexOf("run"), -1);
  project.edit("test.yaml", "text: OTHER", "text: other");
  deepStrictEqual(new Set(await planned()), new Set(["unchanged"]));

  // A default of a task's schema, of the same length, in the same second.
  project.edit("tasks/make.ts", "default(1)", "default(2)");
  const { lines } = await project.call("explain", "other");
  match(lines.join("\n"), /param size: 1 -> 2/);
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
  strictEqual((await process.status).code, 130);
  await process.stderr.cancel();
  for (let tries = 0; isAlive(child); tries++) {
    ok(tries < 100, `process ${child} is left`);
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

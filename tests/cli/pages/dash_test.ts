import { assert, assertEquals, assertMatch } from "@std/assert";
import { StageLog } from "../../../lib/cli/pages/dash_state.ts";
import { openJournal } from "../../../lib/scheduler/journal.ts";
import { CliProject } from "../project.ts";
import { dashProject } from "./dash_project.ts";
import { ServedPage } from "./served_page.ts";

Deno.test("dash follows a run of another process from the disk, and ends at one Ctrl-C", async () => {
  using project = dashProject();
  await using dash = await ServedPage.start("dash", project);
  const before = await dash.ask("state");
  assertEquals(before.pipeline, "test");
  assertEquals(before.sections.summary, "0 of 5 stages done, 5 waiting");
  const run = project.call("pipeline", "--jobs", "2", "--cpus", "2");
  const last = { step: 40, loss: 0.025 };
  const { sections: shown, curves } = await dash.until((
    { sections: { running }, curves },
  ) =>
    Object.values<{ step: number }[]>(curves).filter((points) =>
        points.at(-1)?.step === last.step
      )
        .length === 2 &&
    // Progress is told after the loss.
    running.match(/ value="0\.5"/g)?.length === 2
  );
  assertEquals(curves["train@seed=0"].at(-1), last);
  assertEquals(shown.scores, "");
  assertMatch(
    shown.running,
    /<h3>train@seed=0<\/h3>.*>40\/80 steps, loss 0\.02500<.*data-curve="train@seed=0"/,
  );
  if (Deno.build.os === "linux") {
    const [, seconds, size] = /, ([\d.]+) s of processor, ([\d.]+) MB</.exec(
      shown.running,
    )!;
    assert(Number(seconds) > 0 && Number(size) > 10, shown.running);
  }
  const stage = encodeURIComponent("train@seed=0");
  const { about, log } = (await dash.ask(`state?stage=${stage}`)).sections;
  assertMatch(
    about,
    /^task: train\nwith:\n {2}seed: 0\n {2}go: .*\nresources:\n {2}cpus: 1\n/,
  );
  assertMatch(log, /\nstep 10\nstep 20\nstep 30\nstep 40$/);

  project.write("go", "");
  assertEquals((await run).code, 0);
  const done = await dash.until(({ sections }) =>
    sections.summary === "5 of 5 stages done"
  );
  // The means of seeds 0 and 1.
  assertMatch(
    done.sections.scores,
    /<h3>own: accuracy<\/h3>.*>evaluate<span>2 of 2 results<.*>1<\/th><td>0\.3000<.*>2<\/th><td><b>0\.5500</,
  );
  assertMatch(
    done.sections.curves,
    /<h3>train@seed=0<\/h3>.*data-curve="train@seed=0"/,
  );
  assertEquals(
    done.curves["train@seed=0"].slice(-2),
    [last, { step: 80, loss: 0.0125 }],
  );
  assertEquals(done.report.stage, "report");
  const report = await fetch(`${dash.url}report?stage=report`);
  assertMatch(report.headers.get("content-security-policy")!, /^sandbox /);
  assertMatch(await report.text(), /The end/);

  // What the first run took tells what this one will.
  Deno.removeSync(project.path("go"));
  const again = project.call("pipeline", "--force", "--jobs=2", "--cpus=2");
  await dash.until(({ sections }) =>
    /^\d of 5 stages done, .*, [\d.]+ \w+ left$/.test(sections.summary)
  );
  project.write("go", "");
  assertEquals((await again).code, 0);

  project.edit("test.yaml", "task: report", "task: reprt");
  const faulty = await dash.until(({ sections }) => sections.problem !== "");
  assertMatch(
    faulty.sections.problem,
    /test\.yaml:\d+:\d+: Unknown task &#34;reprt&#34;/,
  );
  assertMatch(faulty.sections.summary, /^\d of 5 stages done/);
  assertEquals(await dash.stop(), 130);
});

Deno.test("dash shows the report of its own parameters, whichever run wrote the visible one", async () => {
  using project = new CliProject(`name: test
params: { word: one }
stages:
  report: { task: tell, with: { word: "\${params.word}" } }
`);
  project.write(
    "tasks/tell.ts",
    `
import * as z from "zod";
export default {
  description: "Reports",
  params: z.strictObject({ word: z.string() }),
  inputs: {},
  output: { kind: "report", files: ["report.html"] },
  run({ params, output }) {
    Deno.writeTextFileSync(output + "/report.html", "The word " + params.word);
  },
};`,
  );
  for (const word of ["one", "two"]) {
    const { code } = await project.call("pipeline", "-S", `word=${word}`);
    assertEquals(code, 0);
  }
  assertMatch(project.read("out/test/report.html"), /The word two/);
  await using dash = await ServedPage.start(
    "dash",
    project,
    ...["-S", "word=one"],
  );
  assertEquals((await dash.ask("state")).report.stage, "report");
  const report = await fetch(`${dash.url}report?stage=report`);
  assertMatch(await report.text(), /The word one/);
});

Deno.test("dash shows the log of the last of two failures in a row", async () => {
  using project = new CliProject(`name: test
stages:
  fail: { task: fail, with: { told: TOLD } }
`);
  project.edit("test.yaml", "TOLD", project.path("told"));
  project.write(
    "tasks/fail.ts",
    `
import * as z from "zod";
export default {
  description: "Fails",
  params: z.strictObject({ told: z.string() }),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  permissions: { read: () => ["/"] },
  run({ params, log }) {
    log(Deno.readTextFileSync(params.told));
    throw new Error("Failed");
  },
};`,
  );
  const fail = async (told: string) => {
    project.write("told", told);
    assertEquals((await project.call("pipeline")).code, 1);
  };
  await fail("first");
  await using dash = await ServedPage.start("dash", project);
  await dash.until(({ sections }) =>
    sections.summary === "0 of 1 stages done, 1 failed"
  );
  const second = async () =>
    (await dash.ask("state?stage=fail")).sections.log.split("\n")[1];
  assertEquals(await second(), "first");
  await fail("second, and longer");
  await dash.until(async () => await second() === "second, and longer");
});

Deno.test("StageLog starts over when another file has the path of the log, even with its inode", async () => {
  const path = Deno.makeTempFileSync({ prefix: "log-" });
  const write = (steps: readonly number[]) => {
    Deno.removeSync(path);
    using log = openJournal(path);
    for (const step of steps) {
      log.write({ type: "metric", stage: "s", name: "loss", value: 1, step });
    }
  };
  try {
    const log = new StageLog(path);
    const steps = () => log.points.map(([step]) => step);
    write([1, 2, 3]);
    log.read();
    assertEquals(steps(), [1, 2, 3]);
    // Clocks of file systems tick every few milliseconds.
    await new Promise((resolve) => setTimeout(resolve, 20));
    write([21, 22, 23, 24]);
    log.read();
    assertEquals(steps(), [21, 22, 23, 24]);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("dash answers only who knows its address, on this machine, and only questions", async () => {
  using project = dashProject();
  await using dash = await ServedPage.start("dash", project);
  const { hostname, port, pathname } = new URL(dash.url);
  assertEquals(hostname, "127.0.0.1");
  assertMatch(pathname, /^\/[0-9a-f-]{36}\/$/);
  const origin = `http://127.0.0.1:${port}`;
  const statuses: number[] = [];
  for (
    const [url, init] of [
      [`${origin}/`, {}],
      [`${origin}/state`, {}],
      [`${origin}/${crypto.randomUUID()}/state`, {}],
      [`${dash.url}state`, { method: "POST", body: "{}" }],
      [`${dash.url}../../etc/passwd`, {}],
      [`${dash.url}report?stage=../../test.yaml`, {}],
      [`${dash.url}dash.ts`, {}],
    ] as const
  ) {
    const answer = await fetch(url, init);
    statuses.push(answer.status);
    await answer.body?.cancel();
  }
  assertEquals(statuses, [403, 403, 403, 405, 403, 404, 404]);
  // A page of another site that a name server leads here.
  using socket = await Deno.connect({ hostname, port: Number(port) });
  await socket.write(new TextEncoder().encode(
    `GET ${pathname}state HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n`,
  ));
  const answer = new Uint8Array(1024);
  const size = await socket.read(answer);
  assertMatch(
    new TextDecoder().decode(answer.subarray(0, size!)),
    /^HTTP\/1.1 403/,
  );
  // Nothing listens on the machine's other addresses.
  for (const { address, family } of Deno.networkInterfaces()) {
    if (family !== "IPv4" || address.startsWith("127.")) continue;
    const connected = await Deno.connect({
      hostname: address,
      port: Number(port),
    })
      .then((it) => (it.close(), true), () => false);
    assertEquals(connected, false, address);
  }
});

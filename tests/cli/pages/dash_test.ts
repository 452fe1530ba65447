import { assert, assertEquals, assertMatch } from "@std/assert";
import { StageLog } from "../../../lib/cli/pages/dash_state.ts";
import { openJournal } from "../../../lib/scheduler/journal.ts";
import { Browser, chromiumMissing } from "../../report/chromium.ts";
import { CliProject } from "../project.ts";
import { ServedPage } from "./served_page.ts";

/** Tasks as trainings, evaluations and reports are; the training goes on while there is no file "go". */
const TASKS = {
  "train.ts": `
import * as z from "zod";
export default {
  description: "Trains",
  params: z.strictObject({ seed: z.int(), go: z.string() }),
  inputs: {},
  output: { kind: "adapter", files: ["weights"] },
  permissions: { read: () => ["/"] },
  async run({ params, output, metric, log, progress }) {
    for (let step = 10; step <= 40; step += 10) {
      log("step " + step);
      metric("loss", 1 / step, step);
      progress(step, 80, "steps", "loss " + 1 / step);
    }
    while (true) {
      try {
        Deno.statSync(params.go);
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    metric("loss", 0.0125, 80);
    Deno.writeTextFileSync(output + "/weights", String(params.seed));
  },
};`,
  "evaluate.ts": `
import * as z from "zod";
export default {
  description: "Scores",
  params: z.strictObject({}),
  inputs: { adapter: { kind: "adapter" } },
  output: { kind: "scores", files: ["scores.json"] },
  run({ inputs, output }) {
    const seed = Number(Deno.readTextFileSync(inputs.adapter[0].path + "/weights"));
    const ranks = [1, 2].map((rank) => ({ rank, metrics: { accuracy: rank / 4 + seed / 10 } }));
    Deno.writeTextFileSync(output + "/scores.json", JSON.stringify({ task: "own", ranks }));
  },
};`,
  "report.ts": `
import * as z from "zod";
export default {
  description: "Reports",
  params: z.strictObject({}),
  inputs: { scores: { kind: "scores", many: true } },
  output: { kind: "report", files: ["report.html"] },
  run({ output }) {
    Deno.writeTextFileSync(output + "/report.html", "<title>R</title><p id=told>The end</p>");
  },
};`,
};

const PIPELINE = `name: test
stages:
  train: { task: train, matrix: { seed: [0, 1] }, with: { seed: "\${matrix.seed}", go: GO } }
  evaluate: { task: evaluate, matrix: { seed: [0, 1] }, inputs: { adapter: "train[seed]" } }
  report: { task: report, inputs: { scores: "evaluate[*]" } }
`;

function dashProject(): CliProject {
  const project = new CliProject(PIPELINE);
  for (const [name, text] of Object.entries(TASKS)) {
    project.write(`tasks/${name}`, text);
  }
  return project;
}

Deno.test("dash follows a run of another process from the disk, and ends at one Ctrl-C", async () => {
  using project = dashProject();
  await using dash = await ServedPage.start("dash", project);
  const before = await dash.ask("state");
  assertEquals(before.pipeline, "test");
  assertEquals(
    before.stages.map((it: { state: string }) => it.state),
    Array(5).fill("waiting"),
  );
  const run = project.call("pipeline", "--jobs", "2", "--cpus", "2");
  const running = await dash.until(({ sections, stages }) =>
    sections.running.match(/step 40: loss 0\.0250<\/text>/g)?.length === 2 &&
    // Progress is told after the loss.
    stages[0].running?.share === 0.5
  );
  const [first] = running.stages;
  assertEquals(first.id, "train@seed=0");
  assertEquals(first.running.share, 0.5);
  assertMatch(first.running.text, /^40\/80 steps, loss 0\.02500$/);
  assertEquals(running.tables, []);
  const stage = encodeURIComponent(first.id);
  assertMatch(
    running.sections.running,
    /<h3>train@seed=0<\/h3>.*step 30: loss 0\.0333.*step 40: loss 0\.0250/,
  );
  if (Deno.build.os === "linux") {
    const [, seconds, size] = /, ([\d.]+) s of processor, ([\d.]+) MB$/.exec(
      first.running.time,
    )!;
    assert(Number(seconds) > 0 && Number(size) > 10, first.running.time);
  }
  const { about, log } = (await dash.ask(`state?stage=${stage}`)).sections;
  assertMatch(
    about,
    /^task: train\nwith:\n {2}seed: 0\n {2}go: .*\nresources:\n {2}cpus: 1\n/,
  );
  assertMatch(log, /\nstep 10\nstep 20\nstep 30\nstep 40$/);

  project.write("go", "");
  assertEquals((await run).code, 0);
  const done = await dash.until(({ stages }) =>
    stages.every((it: { state: string }) => it.state === "done")
  );
  assertEquals(done.tables, [{
    task: "own",
    metric: "accuracy",
    columns: [{
      task: "own",
      metric: "accuracy",
      title: "evaluate",
      done: 2,
      total: 2,
      // The means of seeds 0 and 1.
      scores: { 1: 0.3, 2: 0.55 },
    }],
  }]);
  assertMatch(
    done.sections.curves,
    /<h3>train@seed=0<\/h3>.*step 40: loss 0\.0250.*step 80: loss 0\.0125/,
  );
  assertEquals(done.reports.length, 1);
  const report = await fetch(`${dash.url}report?stage=report`);
  assertMatch(report.headers.get("content-security-policy")!, /^sandbox /);
  assertMatch(await report.text(), /The end/);

  // What the first run took tells what this one will.
  Deno.removeSync(project.path("go"));
  const again = project.call("pipeline", "--force", "--jobs=2", "--cpus=2");
  const { sections } = await dash.until(({ left }) => left !== undefined);
  assertMatch(sections.summary, /^\d of 5 stages done, .*, [\d.]+ \w+ left$/);
  project.write("go", "");
  assertEquals((await again).code, 0);

  project.edit("test.yaml", "task: report", "task: reprt");
  const faulty = await dash.until(({ problem }) => problem !== undefined);
  assertMatch(faulty.problem, /test\.yaml:\d+:\d+: Unknown task "reprt"/);
  assertEquals(faulty.stages.length, 5);
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
  await using dash = await ServedPage.start("dash", project);
  const { reports } = await dash.ask("state");
  assertEquals(reports.length, 1);
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
  await dash.until(({ stages }) => stages[0].state === "failed");
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

const missing = chromiumMissing();
if (missing !== undefined) console.log(`A test of dash is skipped: ${missing}`);

Deno.test({
  name: "dash shows a run in Chromium while it goes on, and then the report",
  ignore: missing !== undefined,
  async fn() {
    using project = dashProject();
    await using dash = await ServedPage.start("dash", project);
    await using browser = await Browser.start();
    await browser.open(dash.url, { width: 400 });
    await browser.until(
      `document.querySelectorAll(".cell.waiting").length === 5`,
    );
    const run = project.call("pipeline", "--jobs", "2", "--cpus", "2");
    await browser.until(
      `document.querySelectorAll(".cell.running").length === 2`,
    );
    await browser.until(
      `document.querySelectorAll("#running .curve").length === 2`,
    );
    // A curve is drawn from two points on, and the page asks again once a second.
    const shows = (id: string, text: RegExp) =>
      browser.until(
        `${text}.test(document.getElementById("${id}").textContent)`,
      );
    await shows("running", /train@seed=0.*40\/80 steps, loss 0\.025/);
    await shows("summary", /0 of 5 stages done, 2 running, 3 waiting/);
    await browser.evaluate(
      `document.querySelector('[data-stage="train@seed=1"]').focus()`,
    );
    await browser.press("Enter");
    await browser.until(
      `document.getElementById("stage").value === "train@seed=1"`,
    );
    await shows("log", /step 40/);
    // At a phone's width, only the graph and tables scroll to the side.
    assert(
      await browser.evaluate<boolean>(
        `document.documentElement.scrollWidth <= 400`,
      ),
    );

    project.write("go", "");
    assertEquals((await run).code, 0);
    await browser.until(`document.querySelectorAll(".cell.done").length === 5`);
    await shows("scores", /own: accuracy.*2 of 2 results.*0\.3000.*0\.5500/);
    assertEquals(
      await browser.evaluate(
        `document.querySelectorAll("#curves .curve").length`,
      ),
      2,
    );
    await browser.until(`!document.getElementById("report-section").hidden`);
    assertEquals(
      await browser.evaluate(
        `document.getElementById("running-section").hidden`,
      ),
      true,
    );
    assertEquals(browser.errors, []);
    assertEquals(
      browser.requests.filter((it) =>
        !it.startsWith(dash.url) && !it.startsWith("about:") && it !== "data:,"
      ),
      [],
    );
    const shown = await browser.evaluate<string>(
      `document.getElementById("report").src`,
    );
    await browser.open(shown);
    assertEquals(
      await browser.evaluate(`document.getElementById("told").textContent`),
      "The end",
    );
    await browser.open(dash.url);
    await browser.until(`document.querySelectorAll(".cell.done").length === 5`);
    assertEquals(await dash.stop(), 130);
    await browser.until(
      `document.getElementById("problem").textContent.startsWith("dash has stopped")`,
    );
  },
});

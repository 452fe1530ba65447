import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "csv-parse/sync";
import { PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { inTerminal } from "../terminal/pseudo_terminal.ts";
import { callHere, CliProject } from "../project.ts";

/** As trainings and evaluations are: the score at rank r is lr + r / 100. */
const TASKS = {
  "train.ts": `
import * as z from "zod";
export default {
  description: "Trains",
  params: z.strictObject({
    lr: z.number(), seed: z.int().default(0), rank: z.int().default(2),
  }),
  inputs: {},
  output: { kind: "adapter", files: ["weights"] },
  async run({ params, output, metric }) {
    metric("training_seconds", 100 * params.lr);
    Deno.writeTextFileSync(output + "/weights", "w".repeat(1000) + JSON.stringify(params));
  },
};`,
  "evaluate.ts": `
import * as z from "zod";
export default {
  description: "Scores",
  params: z.strictObject({ seed: z.int().default(0) }),
  inputs: { adapter: { kind: "adapter" } },
  output: { kind: "scores", files: ["scores.json"] },
  async run({ inputs, output }) {
    const text = Deno.readTextFileSync(inputs.adapter[0].path + "/weights");
    const { lr, rank } = JSON.parse(text.replace(/^w+/, ""));
    const ranks = Array.from({ length: rank }, (_, i) => ({
      rank: i + 1,
      metrics: { accuracy: lr + (i + 1) / 100, f1: i === 0 ? null : 0.5 },
    }));
    Deno.writeTextFileSync(output + "/scores.json", JSON.stringify({ task: "own", ranks }));
  },
};`,
};

const PIPELINE = `name: test
params: { lr: 0.25, rank: 2 }
stages:
  train: { task: train, with: { lr: "\${params.lr}", rank: "\${params.rank}" } }
  evaluate: { task: evaluate, inputs: { adapter: train } }
`;

Deno.test("runs compares results that were replaced with those that are visible", async () => {
  using project = new CliProject(PIPELINE);
  for (const [name, text] of Object.entries(TASKS)) {
    project.write(`tasks/${name}`, text);
  }
  const out = ["--out", project.path("out")];
  const none = await callHere("runs", "test", ...out);
  assertEquals(none.code, 2);
  assertMatch(none.stderr, /no results of pipeline "test"; .* "none"|none$/m);
  for (const lr of ["0.25", "0.5"]) {
    const { code, stderr } = await project.call("pipeline", "-S", `lr=${lr}`);
    assertEquals(code, 0, stderr);
  }

  const json = (await callHere("runs", "test", ...out, "--json")).json();
  assertEquals(json.length, 2);
  const [latest, first] = json;
  assertEquals(
    [latest.current, first.current, latest.stage],
    [true, false, "evaluate"],
  );
  assertEquals(first.params["train.lr"], 0.25);
  assertEquals(first.params["evaluate.seed"], 0);
  assertEquals(first.ranks[1], {
    rank: 2,
    metrics: { accuracy: 0.27, f1: 0.5 },
  });
  assertEquals(first.seconds.training, 25);
  assert(first.seconds.total >= first.seconds.stage);
  assertEquals(
    first.size,
    1000 + JSON.stringify({ lr: 0.25, rank: 2, seed: 0 }).length,
  );

  const table = await callHere("runs", "test", ...out);
  const [head, ...rows] = table.lines;
  assertMatch(
    head!,
    /^ {2}started +stage +lr +accuracy +f1 +bestRank +training +time +total +size$/,
  );
  assertMatch(
    rows[0]!,
    /^\* [\d-]+ [\d:]+ +evaluate +0\.5 +0\.5200 +0\.5000 +2 /,
  );
  assertMatch(rows[1]!, /^ {2}[\d-]+ [\d:]+ +evaluate +0\.25 +0\.2700 /);

  const narrow = await inTerminal(
    [Deno.execPath(), ...PROGRAM, "runs", "test", ...out],
    { columns: 60 },
  );
  // deno-lint-ignore no-control-regex
  const shown = narrow.output.replaceAll(/\x1b\[\d*[A-Z]|\r/g, "").split("\n");
  assertMatch(shown[0]!, /^ {2}started +stage +lr +accuracy +bestRank$/);
  assertMatch(shown[3]!, /^Left out: f1, training, time, total, size;/);

  const sorted = await callHere("runs", "test", ...out, "--sort", "accuracy");
  assertMatch(sorted.lines[1]!, / 0\.25 /);
  const all = await callHere(
    ...["runs", "test", "train", ...out, "--sort", "lr", "--reverse", "--csv"],
  );
  const records = parse(all.stdout, { columns: true }) as Record<
    string,
    string
  >[];
  assertEquals(records.map(({ lr, rank }) => [lr, rank]), [
    ["0.5", "2"],
    ["0.25", "2"],
  ]);

  const scored = await callHere("runs", ...out, "--csv");
  const [row] = parse(scored.stdout, { columns: true }) as Record<
    string,
    string
  >[];
  assertEquals(
    [row!["accuracy@1"], row!["accuracy@2"], row!["f1@1"], row!.current],
    ["0.51", "0.52", "", "true"],
  );
  assertEquals([row!["train.seed"], row!["evaluate.seed"]], ["0", "0"]);

  // A pipeline of another name has taken the same results from the cache.
  project.write("other.yaml", PIPELINE.replace("name: test", "name: other"));
  const other = project.path("other.yaml");
  const tasks = ["--tasks", project.path("tasks")];
  assertEquals((await callHere("pipeline", other, ...tasks, ...out)).code, 0);
  const others = (await callHere("runs", other, ...out, "--json")).json();
  assertEquals(
    others.map((it) => [it.pipeline, it.key, it.current]),
    [["other", first.key, true]],
  );

  const single = await callHere("runs", other, ...out);
  assertMatch(single.lines[0]!, / +training +time +total +size$/);
  const byRank = ["--csv", "--sort", "accuracy@1", "--reverse"];
  const ofRank = await callHere("runs", "test", ...out, ...byRank);
  assertMatch(ofRank.lines[1]!, /0\.51/);
  const ofOne = await callHere("runs", other, ...out, "--csv");
  assertEquals(ofOne.lines[0], ofRank.lines[0]);
  const wrong = await callHere("runs", "test", ...out, "--sort", "acuracy");
  assertEquals(wrong.code, 2);
  assertMatch(
    wrong.stderr,
    /^No column "acuracy" .*; did you mean "accuracy"\?$/m,
  );
  const both = await callHere("runs", "test", ...out, "--json", "--csv");
  assertEquals(both.code, 2);
  assertMatch(
    both.stderr,
    /^Options "--json" and "--csv" exclude each other$/m,
  );
});

Deno.test("runs shows the parameters of a training that was run again after its evaluation", async () => {
  using project = new CliProject(PIPELINE);
  for (const [name, text] of Object.entries(TASKS)) {
    project.write(`tasks/${name}`, text);
  }
  const out = ["--out", project.path("out")];
  assertEquals((await project.call("pipeline")).code, 0);
  assertEquals((await project.call("pipeline", "train", "--force")).code, 0);
  const [row] = (await callHere("runs", "test", ...out, "--json")).json();
  assertEquals(row.params["train.lr"], 0.25);
  assertEquals(row.seconds.training, 25);
});

Deno.test("runs shows what differs of long parameters, and the rank of an adapter that has none as a parameter", async () => {
  using project = new CliProject(`name: test
params: { cpus: 1 }
stages:
  adopt:
    task: adopt
    with: { on: "tensorflow 2.21.0 linux-x86_64 avx2 fma, \${params.cpus} cpus" }
  evaluate: { task: evaluate, inputs: { adapter: adopt } }
  train: { task: train, with: { lr: 0.25 } }
  scored: { task: evaluate, inputs: { adapter: train } }
`);
  for (const [name, text] of Object.entries(TASKS)) {
    project.write(`tasks/${name}`, text);
  }
  project.write(
    "tasks/adopt.ts",
    TASKS["train.ts"]
      .replace(/lr: .*/, "on: z.string(),")
      .replace("100 * params.lr", "1")
      .replace(
        "stringify(params)",
        "stringify({ lr: 0.5, rank: 3, ...params })",
      ),
  );
  for (const cpus of [1, 2]) {
    const run = await project.call("pipeline", "-S", `cpus=${cpus}`);
    assertEquals(run.code, 0, run.stderr);
  }
  const out = ["--out", project.path("out")];
  const sorted = ["--sort", "stage"];
  const { lines } = await callHere("runs", "test", ...out, ...sorted);
  assertMatch(lines[0]!, /started +stage +on +rank +accuracy/);
  assertMatch(lines[1]!, / evaluate +2 +3 +0\.5300/);
  assertMatch(lines[2]!, / evaluate +1 +3 +0\.5300/);
  assertMatch(lines[3]!, / scored +2 +0\.2700/);
  const [row] = (await callHere("runs", "test", ...out, "--json")).json();
  assertEquals(
    row.params["adopt.on"],
    "tensorflow 2.21.0 linux-x86_64 avx2 fma, 2 cpus",
  );
});

Deno.test("runs takes the rank with the lowest loss for the best", async () => {
  using project = new CliProject(PIPELINE);
  for (const [name, text] of Object.entries(TASKS)) {
    project.write(`tasks/${name}`, text.replace("accuracy:", "loss:"));
  }
  const { code, stderr } = await project.call("pipeline");
  assertEquals(code, 0, stderr);
  const out = ["--out", project.path("out"), "--csv"];
  const { stdout } = await callHere("runs", "test", ...out);
  const [row] = parse(stdout, { columns: true }) as Record<string, string>[];
  assertEquals([row!.loss, row!.bestRank], ["0.26", "1"]);
});

import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { shellWord } from "../../../lib/files/shell_word.ts";
import { recommendedFor } from "../../../lib/cli/commands/stage_result.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../../tasks/reference_adapter.ts";
import { withFolder } from "../../tasks/run_task.ts";
import { type Called, callHere, CliProject } from "../project.ts";

const PIPELINE = `name: test
params: { rank: 8, data: first }
profiles: { wrong: { rank: -1 } }
stages:
  base: { task: base }
  data: { task: make, with: { text: "\${params.data}" } }
  train:
    task: fit
    with: { rank: "\${params.rank}" }
    inputs: { model: base, data: data }
  report: { task: judge, inputs: { adapters: train } }
`;

/**
 * Tasks that make a model, an adapter that says what it was made of, a report
 * that says on which adapter, and a prediction that says with which of them.
 */
const TASKS = {
  base: `
import * as z from "zod";
export default {
  description: "Makes a model",
  params: z.strictObject({}),
  inputs: {},
  output: { kind: "model", files: ["model.txt"] },
  async run(stage) { Deno.writeTextFileSync(stage.output + "/model.txt", "model"); },
};
`,
  fit: `
import * as z from "zod";
export default {
  description: "Makes an adapter",
  params: z.strictObject({ rank: z.number() }),
  inputs: { model: { kind: "model" }, data: { kind: "text" } },
  output: { kind: "adapter", files: ["adapter.txt"] },
  async run(stage) {
    const text = Deno.readTextFileSync(stage.inputs.data[0].path + "/out.txt").trim();
    stage.log("trains on " + text + " at rank " + stage.params.rank);
    if (stage.params.rank < 0) throw new Error("A rank below 0");
    Deno.writeTextFileSync(stage.output + "/adapter.txt", text + " at " + stage.params.rank);
  },
};
`,
  judge: `
import * as z from "zod";
export default {
  description: "Makes a report",
  params: z.strictObject({}),
  inputs: { adapters: { kind: "adapter", many: true } },
  output: { kind: "report", files: ["report.txt"] },
  async run(stage) {
    const text = Deno.readTextFileSync(stage.inputs.adapters[0].path + "/adapter.txt");
    Deno.writeTextFileSync(stage.output + "/report.txt", "a report on " + text);
  },
};
`,
  classify: `
import * as z from "zod";
export default {
  description: "Says which adapter it was given",
  params: z.looseObject({}),
  inputs: {
    model: { kind: "model" },
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
  },
  output: { kind: "classification", files: ["classification.json"] },
  async run(stage) {
    Deno.statSync(stage.inputs.model[0].path + "/model.txt");
    const folder = stage.inputs.adapter[0].path;
    const label = Deno.readTextFileSync(folder + "/adapter.txt");
    if (stage.params.texts[0].text === "fail") throw new Error("Cannot use " + folder + "/adapter.txt");
    if (stage.params.texts[0].text === "doubt") stage.log("No rank\\u001b is recommended");
    const [report] = stage.inputs.report ?? [];
    const advice = report && Deno.readTextFileSync(report.path + "/report.txt");
    const { rank } = stage.params;
    const texts = [{ text: "x", label, probabilities: { [label]: 1 }, score: null, asked: { rank, advice } }];
    Deno.writeTextFileSync(stage.output + "/classification.json",
      JSON.stringify({ task: "data", problem: "classification", method: "fit", rank: 1, texts }));
  },
};
`,
};

/**
 * A project whose pipeline has run with the parameters of its file, then with
 * another data set.
 */
const project = new CliProject(PIPELINE);
addEventListener("unload", () => project[Symbol.dispose]());
/**
 * The parameters of the file, for commands that else take those of the last
 * run.
 */
const FIRST = ["-S", "data=first"];
for (const [name, text] of Object.entries(TASKS)) {
  project.write(`tasks/${name}.ts`, text);
}
for (const args of [[], ["-S", "data=second"]]) {
  const { code, stderr, stdout } = await project.call("pipeline", ...args);
  assertEquals(code, 0, stdout + stderr);
}

/** The adapter that `predict` used. */
async function adapterUsed(...args: readonly string[]): Promise<string> {
  const called = await predict(...args);
  assertEquals(called.code, 0, called.stderr);
  return called.json()[0].label;
}

function predict(...args: readonly string[]): Promise<Called> {
  return project.call(
    "predict",
    ...["train", "some text", "--engine", "wasm", "--json", ...args],
  );
}

Deno.test("predict answers with the adapter of the given parameters, whatever ran last", async () => {
  assertEquals(
    project.read("out/test/train/adapter.txt"),
    "second at 8",
  );
  assertEquals(await adapterUsed(...FIRST), "first at 8");
  assertEquals(await adapterUsed("-S", "data=second"), "second at 8");
  assertEquals(await adapterUsed(), "second at 8", "as in the last run");
  assertEquals(
    project.read("out/test/train/adapter.txt"),
    "second at 8",
    "the visible output stays",
  );
  assertEquals([...Deno.readDirSync(project.path("out/cache/runs"))], []);

  const { code, stderr } = await project.call(
    "predict",
    ...["train", "fail", "--engine", "wasm", ...FIRST],
  );
  assertEquals(code, 1);
  assertEquals(
    stderr,
    `Cannot use ${project.path("out/test/train/adapter.txt")}\n`,
    "no folder that exists during the command only",
  );
});

Deno.test("predict takes the rank that the report on the adapter recommends, by default and with --rank recommended", async () => {
  const asked = async (...args: string[]) => {
    const { json, stderr, code } = await predict(...args);
    assertEquals(code, 0, stderr);
    return json()[0].asked;
  };
  const rank = "recommended";
  assertEquals(await asked(...FIRST), { advice: "a report on first at 8" });
  assertEquals(
    await asked("--rank", rank, ...FIRST),
    { rank, advice: "a report on first at 8" },
  );
  assertEquals(
    await asked("--rank", "3", ...FIRST),
    { rank: 3, advice: "a report on first at 8" },
    "which has the threshold of several labels",
  );

  const other = ["-S", "rank=4"];
  const run = await project.call("pipeline", "train", ...other);
  assertEquals(run.code, 0, run.stderr);
  assertEquals(await asked(...other), {}, "no report on it has been made");
  const { code, stderr } = await predict("--rank", rank, ...other);
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^Stage "report" has no .*:\n {2}run: deno task pipeline .+ report .*-S rank=4.*\n$/,
  );
});

Deno.test("predict says what its task says, such as that the report recommends no rank", async () => {
  const { code, stderr } = await project.call(
    "predict",
    ...["train", "doubt", ...FIRST],
  );
  assertEquals(code, 0, stderr);
  assertEquals(stderr, "No rank\ufffd is recommended\n");
});

Deno.test("verify runs the stage of the given parameters again", async () => {
  const { code, lines, stderr } = await project.call(
    "verify",
    ...["train", "--json", ...FIRST],
  );
  assertEquals(code, 0, stderr);
  const events = lines.map((line) => JSON.parse(line));
  assert(events.some(({ line }) => line === "trains on first at rank 8"));
  assertMatch(JSON.stringify(events.at(-1)), /"differing":{},"files":1/);
});
Deno.test("logs prints the log of the run with the given parameters", async () => {
  const logged = async (...args: string[]) => {
    const { code, stdout, stderr } = await project.call(
      "logs",
      "train",
      ...args,
    );
    assertEquals(code, 0, stderr);
    return /trains on .*/.exec(stdout)?.[0];
  };
  assertEquals(await logged(...FIRST), "trains on first at rank 8");
  assertEquals(
    await logged("-S", "data=second"),
    "trains on second at rank 8",
  );
  const failed = await project.call("pipeline", "--profile", "wrong");
  assertEquals(failed.code, 1);
  assertEquals(
    await logged("--profile", "wrong"),
    "trains on first at rank -1",
  );
  assertEquals(await logged(...FIRST), "trains on first at rank 8");
});

Deno.test("predict, logs and verify say which command runs a stage that has not run with these parameters", async () => {
  const given = ["-S", "rank=4", "-S", "data=it's new"];
  const file = shellWord(project.path("test.yaml"));
  const tasks = shellWord(project.path("tasks"));
  const out = shellWord(project.path("out"));
  const command = [
    `deno task pipeline ${file} train`,
    `-S rank=4 -S 'data=it'\\''s new'`,
    `--tasks ${tasks} --out ${out}`,
  ].join(" ");
  const expected = `Stage "train" has no up-to-date result (data: param text ` +
    `"first" -> "it's new"):\n  run: ${command}`;
  const [logs, verify, prediction] = await Promise.all([
    project.call("logs", "train", ...given),
    project.call("verify", "train", ...given),
    predict(...given),
  ]);
  for (
    const [called, engine] of [
      [logs, ""],
      [verify, ""],
      [prediction, " --engine wasm"],
    ] as const
  ) {
    assertEquals(called.code, 1);
    assertEquals(called.stderr, `${expected}${engine}\n`);
  }
  const shell = new Deno.Command("sh", {
    args: ["-c", command.replace("deno task", "printf '%s\\n'")],
  });
  const words = new TextDecoder().decode((await shell.output()).stdout)
    .split("\n").slice(0, -1);
  const { code, stderr } = await callHere(...words);
  assertEquals(code, 0, stderr);
  assertEquals(await adapterUsed(...given), "it's new at 4");
});

Deno.test("recommendedFor() takes the rank that a report recommends for a stage, if its adapter serves it and something was learnt", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const { rank: own } = REFERENCE_TRAINING;
    const recommended = async (rank: number, kind: string, stage: string) => {
      const methods = [
        { trainings: [{ stage: "train" }], recommendation: { rank } },
        { trainings: [{ stage: "other" }], recommendation: null },
      ];
      const comparisons = [{ verdict: { kind }, methods }];
      await Deno.writeTextFile(
        join(folder, "report.json"),
        JSON.stringify({ comparisons }),
      );
      return await recommendedFor(stage, folder, adapter);
    };
    assertEquals(await recommended(own, "recommended", "train"), own);
    assertEquals(await recommended(own + 1, "recommended", "train"), undefined);
    assertEquals(await recommended(own, "nothing-learnt", "train"), undefined);
    assertEquals(await recommended(own, "recommended", "other"), undefined);
  }));

Deno.test("predict takes the stage that makes an adapter where none is named, also for a text with blanks", async () => {
  const given = ["--engine", "wasm", "--json", ...FIRST];
  const called = await project.call("predict", "some text", ...given);
  assertEquals(called.code, 0, called.stderr);
  assertEquals(called.stderr, 'With the adapter of "train"\n');
  assertEquals(called.json()[0].label, "first at 8");
});

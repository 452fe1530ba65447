import { assert, assertEquals, assertMatch } from "@std/assert";
import { shellWord } from "../../../lib/files/shell_word.ts";
import { CliProject } from "../project.ts";

const PIPELINE = `name: test
params: { kind: recommended, reference: constant, rank: 3 }
show: judge/report.md
stages:
  judge:
    task: judge
    with:
      kind: \${params.kind}
      reference: \${params.reference}
      rank: \${params.rank}
  take:
    task: pack
    matrix: { seed: [0, 1] }
    with: { seed: "\${matrix.seed}" }
    inputs: { report: judge }
`;

/** A task that writes a report with a verdict. */
const JUDGE = `
import * as z from "zod";
export default {
  description: "Writes a report",
  params: z.strictObject({
    kind: z.string(),
    reference: z.string(),
    rank: z.number(),
    split: z.string().default("validation"),
  }),
  inputs: {},
  output: { kind: "report", files: ["report.json", "report.html", "report.md"] },
  async run({ params: { kind, reference, rank, split }, output }) {
    const verdict = {
      kind,
      headline: "Rank " + rank + " of DyLoRA is enough.",
      reasons: ["It scores 82.9 [80.6, 85.2].", "LoRA scores more."],
      recommended: { rank },
      reference: { kind: reference },
    };
    const metrics = ["loss"];
    const comparison = { task: "sst2", title: "SST-2", split, epoch: "last", metrics, verdict };
    Deno.writeTextFileSync(output + "/report.json", JSON.stringify({ comparisons: [comparison] }));
    Deno.writeTextFileSync(output + "/report.html", "page");
    Deno.writeTextFileSync(output + "/report.md", "# The tables\\n");
  },
};
`;

/**
 * A task that writes what names the classes and the base model of an adapter.
 */
const PACK = `
import * as z from "zod";
export default {
  description: "Exports an adapter",
  params: z.strictObject({ seed: z.number() }),
  inputs: { report: { kind: "report" } },
  output: { kind: "peft", files: ["classes.json", "adapter_config.json"] },
  async run({ output }) {
    const write = (name, value) =>
      Deno.writeTextFileSync(output + "/" + name, JSON.stringify(value));
    write("classes.json", { task: "own", problem: "classification", labels: ["bad", "good"] });
    write("adapter_config.json", { base_model_name_or_path: "me/model" });
  },
};
`;

/** A project with a pipeline that judges and packs. */
function project(pipeline = PIPELINE): CliProject {
  const made = new CliProject(pipeline);
  made.write("tasks/judge.ts", JUDGE);
  made.write("tasks/pack.ts", PACK);
  return made;
}

Deno.test("pipeline ends with the verdict, the adapter, the commands that use it and the report, and shows tables only if they are new", async () => {
  using test = project();
  const first = await test.call("pipeline", "-S", "rank=2");
  assertEquals(first.code, 0, first.stderr);
  const out = test.path("out");
  const answer = [
    "",
    "SST-2: Rank 2 of DyLoRA is enough.",
    "  It scores 82.9 [80.6, 85.2].",
    "  LoRA scores more.",
    "",
    `adapter  ${out}/test/take@seed=0 and 1 more`,
    `predict  deno task predict ${
      shellWord(test.path("test.yaml"))
    } take@seed=0 -S rank=2 --tasks ${shellWord(test.path("tasks"))} --out ${
      shellWord(out)
    } "your text"`,
    "python   from peft import AutoPeftModelForSequenceClassification",
    "         from transformers import AutoTokenizer",
    `         folder = "${out}/test/take@seed=0"`,
    "         model = AutoPeftModelForSequenceClassification.from_pretrained(",
    "             folder,",
    '             id2label={0: "bad", 1: "good"},',
    "             ignore_mismatched_sizes=True,",
    "         )",
    "         tokenizer = AutoTokenizer.from_pretrained(folder)",
    `report   ${out}/test/judge.html`,
  ];
  assertEquals(first.lines.slice(-answer.length), answer);
  assert(first.stdout.includes("\n\nThe tables\n\n"));
  const second = await test.call("pipeline", "-S", "rank=2");
  assertMatch(second.lines[0]!, /^Nothing to do: 3 stages unchanged/);
  assertEquals(second.lines.slice(1), answer);
});

Deno.test("pipeline with two reports answers by that of the exported adapter, and tells the other after it", async () => {
  using test = project(`name: test
stages:
  by-text: { task: judge, with: { kind: recommended, reference: constant, rank: 8 } }
  judge: { task: judge, with: { kind: recommended, reference: constant, rank: 3 } }
  take: { task: pack, with: { seed: 0 }, inputs: { report: judge } }
`);
  const { lines, stderr, code } = await test.call("pipeline");
  assertEquals(code, 0, stderr);
  const start = lines.indexOf("SST-2: Rank 3 of DyLoRA is enough.");
  assertEquals(lines.slice(start + 1, start + 5), [
    "  It scores 82.9 [80.6, 85.2].",
    "  LoRA scores more.",
    "  The adapter has rank 3, by this report.",
    "  Also, SST-2: Rank 8 of DyLoRA is enough.",
  ]);
  const reports = lines.filter((it) => it.startsWith("report"));
  assertMatch(reports[0]!, /judge\.html$/);
  assertMatch(reports[1]!, /by-text\.html$/);
});

Deno.test("pipeline recommends no rank if another report finds that nothing was learnt of the same examples", async () => {
  using test = project(`name: test
params: { split: validation }
stages:
  by-text: { task: judge, with: { kind: nothing-learnt, reference: constant, rank: 8, split: "\${params.split}" } }
  judge: { task: judge, with: { kind: recommended, reference: constant, rank: 3 } }
  take: { task: pack, with: { seed: 0 }, inputs: { report: judge } }
`);
  const { lines, stderr, code } = await test.call("pipeline");
  assertEquals(code, 0, stderr);
  const start = lines.indexOf("SST-2: Rank 8 of DyLoRA is enough.");
  assertEquals(lines.slice(start + 1, start + 6), [
    "  It scores 82.9 [80.6, 85.2].",
    "  LoRA scores more.",
    "  By the loss alone, the rank is 3, which the exported adapter has.",
    "",
    `adapter  ${test.path("out")}/test/take`,
  ]);
  assert(!lines.some((line) => /^(predict|try|python)/.test(line)));
  // A test set chooses nothing.
  const { stdout } = await test.call("pipeline", "-S", "split=test");
  assertMatch(stdout, /^SST-2, validation: Rank 3 of DyLoRA is enough\.$/m);
  assertMatch(stdout, /^ {2}Also, SST-2, test: Rank 8 of DyLoRA is enough\.$/m);
  assertMatch(stdout, /^predict /m);
});

Deno.test("pipeline names the folders of an exported adapter and its model, which need no parameters of the run", async () => {
  using test = new CliProject(`name: test
params: { columns: 1 }
stages:
  base: { task: make, with: { text: "\${params.columns}" } }
  take: { task: pack, with: { seed: 0 }, inputs: { model: base } }
`);
  test.edit("tasks/make.ts", "text: z.string()", "text: z.coerce.string()");
  const model = 'inputs: { model: { kind: "text" }';
  test.write("tasks/pack.ts", PACK.replace(/inputs: \{ report: .*? \}/, model));
  const { code, lines, stderr } = await test.call(
    "pipeline",
    "-S",
    "columns=2",
  );
  assertEquals(code, 0, stderr);
  const out = test.path("out/test");
  const adapter = shellWord(`${out}/take`);
  const base = shellWord(`${out}/base`);
  const tasks = shellWord(test.path("tasks"));
  assertEquals(lines.slice(-12), [
    `adapter  ${out}/take`,
    `predict  deno task predict --adapter ${adapter} --model ${base} --tasks ${tasks} "your text"`,
    "python   from peft import PeftModel",
    "         from transformers import AutoModelForSequenceClassification, AutoTokenizer",
    `         folder = "${out}/take"`,
    "         base = AutoModelForSequenceClassification.from_pretrained(",
    `             "${out}/base",`,
    '             id2label={0: "bad", 1: "good"},',
    "             ignore_mismatched_sizes=True,",
    "         )",
    "         model = PeftModel.from_pretrained(base, folder)",
    "         tokenizer = AutoTokenizer.from_pretrained(folder)",
  ]);
});

Deno.test("pipeline names the page of the adapter behind an export, unless its kind does not serve every rank", async () => {
  for (const kind of ["lora", "dora"]) {
    using test = new CliProject(`name: test
stages:
  first: { task: train, with: { adapter: ${kind} } }
  second: { task: train, with: { adapter: ${kind} } }
  take: { task: pack, with: { seed: 0 }, inputs: { adapter: second } }
`);
    const adapter = 'inputs: { adapter: { kind: "adapter" }';
    test.write(
      "tasks/pack.ts",
      PACK.replace(/inputs: \{ report: .*? \}/, adapter),
    );
    test.write(
      "tasks/train.ts",
      `
import * as z from "zod";
export default {
  description: "Trains",
  params: z.strictObject({ adapter: z.string() }),
  inputs: {},
  output: { kind: "adapter", files: ["training.json"] },
  run({ output }) {
    Deno.writeTextFileSync(output + "/training.json", "{}");
  },
};
`,
    );
    const { lines, stderr } = await test.call("pipeline");
    const found = lines.filter((line) => /^try /.test(line));
    const tasks = shellWord(test.path("tasks"));
    const out = shellWord(test.path("out"));
    const file = shellWord(test.path("test.yaml"));
    const command =
      `deno task try ${file} second --tasks ${tasks} --out ${out}`;
    const expected = kind === "lora" ? [`try      ${command}`] : [];
    assertEquals(found, expected, stderr);
  }
});

Deno.test("pipeline --json prints the answer before the summary, which is last", async () => {
  using test = project();
  const { json, stderr } = await test.call("pipeline", "--json");
  const [answer, summary] = json().slice(-2);
  assertEquals(summary?.type, "summary", stderr);
  const { type, findings, adapters, reports } = answer;
  assertEquals(type, "answer");
  assertEquals(findings, [{
    title: "SST-2",
    headline: "Rank 3 of DyLoRA is enough.",
    reasons: ["It scores 82.9 [80.6, 85.2].", "LoRA scores more."],
    rank: 3,
  }]);
  assertEquals(adapters.length, 2);
  assertEquals(reports, [test.path("out/test/judge.html")]);
});

Deno.test("pipeline offers no prediction if nothing was learnt", async () => {
  using test = project();
  const { code, lines } = await test.call(
    "pipeline",
    "-S",
    "kind=nothing-learnt",
  );
  assertEquals(code, 0);
  assert(!lines.some((line) => /^(predict|python)/.test(line)));
  assertMatch(lines.at(-1)!, /^report /);
  const asHead = ["-S", "kind=nothing-learnt", "-S", "reference=head"];
  const { stdout } = await test.call("pipeline", ...asHead);
  assertMatch(stdout, /^predict /m, "the head alone has learnt as much");
});

Deno.test("pipeline ends without an answer if stages of a report and an adapter are not selected", async () => {
  using test = new CliProject(
    "name: test\nstages: { a: { task: make, with: { text: a } } }\n",
  );
  const { lines } = await test.call("pipeline");
  assertMatch(lines.at(-1)!, /^1 stage: 1 ran/);
});

Deno.test("pipeline names the results that it replaces and the parameter that differs, and --name keeps both", async () => {
  using test = project();
  await test.call("pipeline");
  const named = await test.call(
    "pipeline",
    "-S",
    "rank=4",
    "--name",
    "four",
  );
  assert(!named.stdout.includes("Replaced"), named.stdout);
  assertMatch(named.stdout, /--name four/);
  const rankIn = (folder: string) =>
    JSON.parse(test.read(`out/${folder}/judge/report.json`))
      .comparisons[0].verdict.recommended.rank;
  assertEquals([rankIn("test"), rankIn("test@four")], [3, 4]);
  const status = await test.call("status", "-S", "rank=4", "--name", "four");
  assertMatch(status.stdout, /^unchanged {2}judge /m);
  const replacing = await test.call("pipeline", "-S", "rank=5");
  assertMatch(
    replacing.stdout,
    /^Replaced results of other parameters or sources \(judge: param rank 3 -> 5\): judge, take@seed=\d, take@seed=\d; they stay in the cache, and --name NAME keeps both visible$/m,
  );
  assertEquals([rankIn("test"), rankIn("test@four")], [5, 4]);
  // Going back replaces them again, from the cache.
  const restored = await test.call("pipeline");
  assertMatch(restored.stdout, /Replaced .* param rank 5 -> 3/);
});

Deno.test("pipeline does not call results replaced that differ by code alone", async () => {
  using test = project();
  await test.call("pipeline");
  test.edit("tasks/judge.ts", '"page"', '"another page"');
  const { stdout, code } = await test.call("pipeline");
  assertEquals(code, 0);
  assert(!stdout.includes("Replaced"), stdout);
});

Deno.test("pipeline ends with a command for pairs of texts if the adapter's data set has pairs, whatever the report is on", async () => {
  const predicts = async (own: number, other: number) => {
    using test = new CliProject(`name: test
stages:
  own: { task: data, with: { columns: ${own} } }
  other: { task: data, with: { columns: ${other} } }
  judge: { task: judge, with: { kind: recommended, reference: constant, rank: 2 }, inputs: { on: other } }
  take: { task: pack, with: { seed: 0 }, inputs: { report: judge, data: own } }
`);
    const on = 'inputs: { on: { kind: "dataset" } }';
    test.write("tasks/judge.ts", JUDGE.replace("inputs: {}", on));
    const data = 'inputs: { data: { kind: "dataset" }, ';
    test.write("tasks/pack.ts", PACK.replace("inputs: {", data));
    test.write(
      "tasks/data.ts",
      `
import * as z from "zod";
export default {
  description: "Writes a data set",
  params: z.strictObject({ columns: z.number() }),
  inputs: {},
  output: { kind: "dataset", files: ["dataset.json"] },
  async run({ params, output }) {
    const columns = ["a", "b"].slice(0, params.columns);
    Deno.writeTextFileSync(output + "/dataset.json", JSON.stringify({ columns, labels: null, problem: "regression" }));
  },
};
`,
    );
    const { stdout } = await test.call("pipeline");
    return /^predict.*take.* (--pair .*|"your text")$/m.exec(stdout)?.[1];
  };
  assertEquals(await predicts(2, 1), `--pair '|' "your text|its pair"`);
  assertEquals(await predicts(1, 2), '"your text"');
});

Deno.test("--name refuses what is not part of a folder's name", async () => {
  using test = project();
  const { code, stderr } = await test.call("plan", "--name", "../x");
  assertEquals(code, 2);
  assertMatch(
    stderr,
    /^Invalid value "\.\.\/x" for option "--name": expected at most 100 letters, digits, "_" and "-"$/m,
  );
});

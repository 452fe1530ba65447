import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { PEFT_FILES } from "../../lib/peft/adapter.ts";
import {
  type Command,
  readArguments,
} from "../../lib/cli/arguments/arguments.ts";
import { PROGRAM } from "../../lib/cli/arguments/options.ts";
import { outWithCode } from "../cli/project.ts";
import {
  commandsOf,
  documents,
  reads,
  replaceAll,
  root,
  textOf,
} from "../documents.ts";
import { factors, PEFT, writeFile } from "../resize/lora_file.ts";

/** Runs a command of a document, which must succeed; gives its output. */
async function succeeds(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", ...args],
    cwd: root,
    env: { NO_COLOR: "1", CI: "1" },
    stdin: "null",
  }).output();
  const [text, errors] = [stdout, stderr].map((bytes) =>
    new TextDecoder().decode(bytes)
  ) as [string, string];
  assertEquals(code, 0, `${args.join(" ")}: ${text}${errors}`);
  return text;
}

/** Output folder of all commands. */
const out = await outWithCode();

/** Tasks whose commands are run on the results of smoke. */
const AFTER_SMOKE = [
  "export",
  "logs",
  "predict",
  "resize",
  "runs",
  "track",
  "verify",
];

/**
 * Commands that serve until they are ended, need a server or install: their
 * examples are parsed only.
 */
const PARSED = ["dash", "push", "setup", "try"];

/**
 * Names in the examples of helps, and what stands for them: smoke is the
 * pipeline that has run.
 */
const NAMED: readonly (readonly [string, string])[] = [
  ["glue-mini", "smoke"],
  ["own-data", "smoke"],
  ["mrpc,seed=0", "sst2,seed=0"],
  ["@mrpc", "@sst2"],
  ["train.mrpc.", "train."],
  ["data=glue", "data=./fixtures/tiny-glue"],
];

/** Texts among which the examples of embeddings search. */
const ANSWERS = "By card.\nAt the counter, in cash.\nOn Sunday.\n";

/**
 * Runs every example of every `--help`, in a folder with the files that they
 * name.
 */
async function runExamples(): Promise<void> {
  const here = join(out, "examples");
  Deno.mkdirSync(join(here, "my"), { recursive: true });
  const table = ["sentence,answer,good"];
  for (let i = 0; i < 20; i++) {
    table.push(`great fun ${i} !,dull ${i},yes`, `not bad ${i},not good,no`);
  }
  for (const name of ["reviews.csv", "new.csv"]) {
    Deno.writeTextFileSync(
      join(here, name),
      table.map((row) => row.replace(/,.*,/, ",")).join("\n"),
    );
  }
  Deno.writeTextFileSync(
    join(here, "pairs.tsv"),
    table.join("\n").replaceAll(",", "\t").replace("sentence", "question"),
  );
  const trained = join(out, "smoke/train-lora@sst2,seed=0,rank=8");
  for (const name of ["my-lora", "adapter"]) {
    Deno.symlinkSync(trained, join(here, name));
  }
  Deno.symlinkSync(join(out, "smoke/model"), join(here, "roberta-base"));
  Deno.writeTextFileSync(join(here, "answers.txt"), ANSWERS);
  Deno.writeTextFileSync(
    join(here, "faq.csv"),
    table.join("\n").replace("sentence", "question"),
  );
  for (const name of ["style", "a", "b"]) {
    writeFile(here, `${name}.safetensors`, factors("q", [40, 40, 32], PEFT));
  }
  const remote = `file://${join(here, "results")}`;
  const runs = async (words: readonly string[], input = "") => {
    const process = new Deno.Command(Deno.execPath(), {
      args: [...PROGRAM, ...words],
      cwd: here,
      env: { NO_COLOR: "1", CI: "1", XDG_CONFIG_HOME: join(here, "config") },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    await new Blob([input]).stream().pipeTo(process.stdin);
    const { code, stderr } = await process.output();
    const isRight = code === 0 || code === 10 && words[0] === "plan";
    assert(isRight, `${words.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  };
  await runs(["cache", "key", "--out", out]);
  await runs(["cache", "push", "smoke", "--remote", remote, "--out", out]);
  const folder = join(root, "lib/cli/commands");
  const commands: Command[] = [];
  for (const { name } of Deno.readDirSync(folder)) {
    const module = await import(join(folder, name));
    commands.push(
      ...Object.values(module as Record<string, Command>)
        .filter((it) => it?.examples !== undefined),
    );
  }
  // Others use the pipeline that init writes.
  commands.sort((a, b) =>
    Number(b.name === "init") - Number(a.name === "init")
  );
  for (const command of commands) {
    for (const [example] of command.examples) {
      const [plain, , file] = example.split(/ ?([<>|]+) /) as string[];
      const given = [...plain!.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)]
        .map(([, double, single, bare]) => double ?? single ?? bare!);
      await readArguments(command, given);
      const isServed = /mlflow/.test(plain!);
      if (PARSED.includes(command.name) || isServed) continue;
      const words = replaceAll(given, [...NAMED, [
        "file:///mnt/results",
        remote,
      ]])
        .filter((word, i) =>
          !["--profile", "quick"].includes(word) && given[i] !== ""
        )
        .map((word) => word === "--out" ? "--to" : word);
      if (command.name === "init" && !words.includes("--to")) {
        words.push("--to", `my/${words[0]}.yaml`);
      }
      // Other metrics of a training make what is made from it stale.
      if (words.includes("--force")) words.push("--dry-run");
      const isRead = command.options.some(({ name }) => name === "out");
      if (isRead && !words.includes("--adapter")) words.push("--out", out);
      const input = file === "pairs.tsv" ? "great fun !\tdull\n" : "";
      const isSingle = command.name === "predict" && file === "pairs.tsv";
      await runs(
        [
          command.name,
          ...isSingle
            ? words.filter((it) => !/^--pair$|^\\t$/.test(it))
            : words,
        ],
        input,
      );
    }
  }
}

Deno.test("README's smoke pipeline prints the report, then has nothing to do, and is deterministic", async () => {
  const first = await succeeds(["pipeline", "smoke", "--out", out]);
  assertMatch(first, /12 stages: 12 ran/);
  assertMatch(first, /^Speed-up +LoRA.*\nSweep \(s\) +[\d.]+x$/m);
  const scores = JSON.parse(
    await Deno.readTextFile(
      join(out, "smoke/evaluate-dylora@sst2,seed=0/scores.json"),
    ),
  ) as { ranks: { rank: number; metrics: { accuracy: number } }[] };
  assertEquals(scores.ranks.map(({ rank }) => rank), [
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
  ]);
  for (const { rank, metrics } of scores.ranks) {
    assert(
      metrics.accuracy > 0.7,
      `rank ${rank}: ${metrics.accuracy}, chance is 0.5`,
    );
  }

  // Its adapter of embeddings is that of the examples of predict.
  await succeeds(["pipeline", "retrieval", "--profile", "smoke", "--out", out]);

  const second = await succeeds(["pipeline", "smoke", "--out", out]);
  assertMatch(second, /Nothing to do: 12 stages unchanged/);

  const commands = [...documents()].flatMap((path) => commandsOf(textOf(path)))
    .filter(([name]) => AFTER_SMOKE.includes(name!));
  const names = new Set(commands.map(([name]) => name!));
  assertEquals([...names].sort(), AFTER_SMOKE);
  const distinct = new Set(
    [...commands, ["verify", "smoke", "evaluate-dylora"]].map((args) =>
      // Unlike own-data, smoke needs no settings, and exports nothing.
      replaceAll(
        args.filter((_, i) => ![args[i], args[i - 1]].includes("-S")),
        [
          ["out/own-data/take-away@seed=0", "ADAPTER"],
          ["out/own-data/model", "MODEL"],
          ["own-data", "smoke"],
          ["take-away", "train-dylora"],
          ["ADAPTER", join(out, "smoke/train-dylora@sst2,seed=0")],
          ["MODEL", join(out, "smoke/model")],
          ["my-adapter", join(out, "my-adapter")],
          ["my-model", join(out, "my-model")],
          ["my-ranks", join(out, "my-ranks")],
          ["FOLDER", join(out, "resized")],
          ["new.csv", join(out, "new.csv")],
          ["predicted.csv", join(out, "predicted.csv")],
          ["answers.txt", join(out, "answers.txt")],
          ["answers.npy", join(out, "answers.npy")],
        ],
      ).join("\0")
    ),
  );
  await Deno.writeTextFile(join(out, "new.csv"), "sentence\na fine film\n");
  await Deno.writeTextFile(join(out, "answers.txt"), ANSWERS);
  const lora = join(out, "my-lora");
  await Deno.mkdir(lora);
  for (const file of PEFT_FILES) {
    const trained = join(out, "smoke/train-lora@sst2,seed=0,rank=8", file);
    await Deno.copyFile(trained, join(lora, file));
  }
  const resize = [
    ...["pipeline", "resize", "--profile", "trial", "--out", out],
    ...["-S", `adapter=${lora}`, "-S", "model=./fixtures/tiny-roberta"],
  ];
  const lines = [...distinct].map((command) => command.split("\0"))
    .map((words) =>
      words.includes("--adapter") || words[0] === "resize"
        ? words
        : [...words, "--out", out]
    );
  const isRead = ([name]: string[]) => ["logs", "runs"].includes(name!);
  for (const line of lines.filter(isRead)) await reads(line);
  // All have ended before the folder is removed, even if one fails.
  const ends = await Promise.allSettled([
    ...lines.filter((line) => !isRead(line)).map(succeeds),
    succeeds(resize),
  ]);
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  const { comparisons: [comparison] } = JSON.parse(
    await Deno.readTextFile(join(out, "resize/report/report.json")),
  ) as { comparisons: { methods: { method: string; ranks: unknown[] }[] }[] };
  assertEquals(
    comparison!.methods.map(({ method, ranks }) => [method, ranks.length]),
    [["dylora", 8], ["imported-lora-svd", 8], ["imported-lora", 1]],
  );
  const exported = join(out, "my-adapter/adapter_config.json");
  assertEquals(JSON.parse(await Deno.readTextFile(exported)).r, 4);
  await runExamples();
  // The page has what made it.
  const page = await Deno.readTextFile(join(out, "smoke/report.html"));
  assertMatch(page, /id="run">\{"pipeline":"smoke"/);
});

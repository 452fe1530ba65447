import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import {
  callHere,
  callMainWith,
  CliProject,
  RANKS_PIPELINE,
} from "../project.ts";

Deno.test("pipeline --dry-run and plan show what would run, and run nothing", async () => {
  using project = new CliProject(RANKS_PIPELINE);
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

Deno.test("plan finds a column that a file of the user lacks, in every format, before anything runs", async () => {
  const out = Deno.makeTempDirSync();
  const fixtures = "./fixtures/tiny-glue/SST-2/train.tsv";
  const object = { first: "good", label: "pos" };
  const [lines, array] = ["jsonl", "json"].map((end) => `${out}/a.${end}`);
  Deno.writeTextFileSync(lines!, `${JSON.stringify(object)}\n`.repeat(3));
  Deno.writeTextFileSync(array!, JSON.stringify([object, object]));
  try {
    for (
      const [train, setting, named] of [
        [fixtures, "text=review", /no column "review".*-S text=sentence/],
        [fixtures, "label=stars", /no column "stars".*-S label=label/],
        [fixtures, "pair=answer", /no column "answer".*-S pair=/],
        [lines, "label=label", /no column "sentence"; .*-S text=first/],
        [array, "label=label", /no column "sentence"; .*-S text=first/],
        [
          "./fixtures/tiny-intents/train.parquet",
          "label=label",
          /no column "sentence"; .*-S text=text/,
        ],
      ] as const
    ) {
      const { code, stderr } = await callHere(
        ...["plan", "own-data", "-S", `train=${train}`, "-S", setting],
        ...["--out", join(out, "out")],
        ...["-S", "model=./fixtures/tiny-roberta"],
      );
      assertEquals(code, 1);
      assertMatch(stderr, named);
    }
    const made = [...Deno.readDirSync(join(out, "out"))];
    assertEquals(made.map(({ name }) => name), ["cache"]);
  } finally {
    Deno.removeSync(out, { recursive: true });
  }
});

Deno.test("explain compares a key with the nearest result, down to the parameter and the line of code", async () => {
  using project = new CliProject(RANKS_PIPELINE);
  assertEquals((await project.call("pipeline", "start")).code, 0);
  const explain = (...args: string[]) =>
    project.call("explain", "start", ...args);
  assertMatch(
    (await explain("-S", "word=two")).stdout,
    /^start: run - param text "start one" -> "start two"\n\n {2}Compared with the result of .*:\n {4}param text: "start one" -> "start two"\n/,
  );
  // Of an unchanged stage, an earlier result explains nothing.
  await project.call("pipeline", "start", "-S", "word=two");
  await project.call("pipeline", "start");
  assertMatch((await explain()).stdout, /^start: unchanged\n\n {2}Key:\n/);
  project.edit("tasks/make.ts", '"\\n"', '"\\n\\n"');
  assertMatch(
    (await explain()).stdout,
    /code .*make\.ts changed\n +.*make\.ts:3\d\n +- .*\n +\+ /,
  );
  const [explanation] = (await explain("--json")).json();
  assertEquals(explanation.decision.state, "run");
  project.edit("tasks/make.ts", '"\\n\\n"', '"\\n"');
  project.write("tasks/new.ts", "Object.assign(globalThis, { more: 1 });");
  project.edit(
    "tasks/make.ts",
    "export default",
    'import "./new.ts";\nexport default',
  );
  assertMatch((await explain()).stdout, /^ {4}code task:new\.ts added$/m);
});

Deno.test("status prints the state and the last run of each stage", async () => {
  using project = new CliProject(RANKS_PIPELINE);
  assertEquals((await project.call("pipeline", "other")).code, 0);
  const { lines } = await project.call("status");
  assertEquals(lines.length, 7);
  const line = (stage: string) => lines.find((it) => it.includes(stage))!;
  assertMatch(
    line("other"),
    /^unchanged {2}other +ran \d{4}-\d\d-\d\d \d\d:\d\d, [\d.]+ s$/,
  );
  assertMatch(line("start"), /^run {8}start +never ran; no earlier result$/);
});

Deno.test("status prints the message of a failure on the line of its stage", async () => {
  using project = new CliProject(RANKS_PIPELINE);
  project.edit("tasks/make.ts", "Told to fail", "No disk\\n\\x1b[31mFree some");
  project.edit("test.yaml", "extra: {}", "extra: { fail: true }");
  assertEquals((await project.call("pipeline", "other")).code, 1);
  const { lines } = await project.call("status");
  assertEquals(lines.length, 7);
  assertMatch(
    lines.find((it) => it.includes("other"))!,
    /^failed +other +No disk \ufffd\[31mFree some; log: /,
  );
});

Deno.test("status, explain, runs and cache ls print times in the local time zone", async () => {
  using project = new CliProject(RANKS_PIPELINE);
  assertEquals((await project.call("pipeline", "other")).code, 0);
  const out = ["--out", project.path("out")];
  const [{ started }] = (await callHere("cache", "ls", ...out, "--json"))
    .json();
  const env = { TZ: "Asia/Kolkata" };
  const time = new Date(started)
    .toLocaleString("sv-SE", {
      timeZone: env.TZ,
      timeStyle: "short",
      dateStyle: "short",
    });
  project.edit("test.yaml", "text: other", "text: another");
  for (
    const { stdout, stderr } of [
      await project.callWith({ env }, "status"),
      await project.callWith({ env }, "explain", "other"),
      await callMainWith({ env }, "runs", "test", "other", ...out),
      await callMainWith({ env }, "cache", "ls", ...out),
    ]
  ) assertStringIncludes(stdout, time, stderr);
});

import {
  assertEquals,
  assertIsError,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { parseSetting } from "../../lib/pipeline/params.ts";
import { faultsOf, withTasks } from "./fake_tasks.ts";

Deno.test("parseSetting() gives a value the type that it has in YAML", async () => {
  const value = async (text: string) =>
    (await parseSetting(`train.lr=${text}`)).value;
  assertEquals(await value("5e-4"), 5e-4);
  assertEquals(await value("[1, 2]"), [1, 2]);
  assertEquals(await value("true"), true);
  assertEquals(await value("null"), null);
  assertEquals(await value("/data/a=b"), "/data/a=b");
  assertEquals(await value("'5'"), "5");
  assertEquals(await value(""), "");
  assertEquals(await value("{ a: 1 }"), { a: 1 });
  assertEquals((await parseSetting("a=b")).key, "a");
});

Deno.test("parseSetting() refuses text that is not a setting", async () => {
  const refuses = async (text: string, message: RegExp) =>
    assertIsError(
      await assertRejects(() => parseSetting(text)),
      Error,
      message,
    );
  await refuses("lr", /must have the form KEY=VALUE/);
  await refuses("=5", /must have the form KEY=VALUE/);
  await refuses("a..b=5", /must have the form KEY=VALUE/);
  await refuses("a=[1", /is not valid YAML: .*; to give text, quote it/);
  await refuses(
    "a=!!binary x",
    /unknown tag !<tag:yaml.org,2002:binary>/,
  );
});

Deno.test("expandPipeline() points at a setting whose value is faulty, whatever refers to it", () =>
  withTasks(async (tasks) => {
    const text = `name: test
params: { train: { lr: 0.1, seed: 1 }, rows: 3, glue: [cola], cpus: 1 }
stages:
  data:
    task: fetch
    with: { source: a, rows: \${params.rows} }
    resources: { cpus: "\${params.cpus}" }
  other:
    task: fetch
    matrix: { glue: \${params.glue} }
    with: { source: a }
  train:
    task: train
    with: { <<: \${params.train}, note: 5 }
    inputs: { data: data }
  merged:
    task: train
    with: { <<: [{ seed: 2 }, "\${params.train}"] }
    inputs: { data: data }
`;
    const faults = (...settings: [key: string, value: unknown][]) =>
      faultsOf(tasks, text, {
        settings: settings.map(([key, value]) => ({ key, value })),
      });
    const own = '14:40 Invalid "note" of task "train": expected text, got "5"';
    const cases: [key: string, value: unknown, fault: string][] = [
      [
        "rows",
        "many",
        'rows=many: Invalid "rows" of task "fetch": expected a number, got text "many"',
      ],
      [
        "cpus",
        0.5,
        'cpus=0.5: Invalid "resources.cpus" of stage "data": expected an integer or text, got "0.5"',
      ],
      [
        "train.lr",
        "x",
        'train.lr=x: Invalid "lr" of task "train": expected a number, got text "x"',
      ],
      [
        "train",
        { lr: "x" },
        'train={"lr":"x"}: Invalid "lr" of task "train": expected a number, got text "x"',
      ],
      [
        "train.lr",
        "${params.rows}",
        "train.lr=${params.rows}: A parameter cannot contain a reference; refer to both parameters where they are used",
      ],
      [
        "glue",
        ["cola", "${params.rows}"],
        'glue=["cola","${params.rows}"]: A parameter cannot contain a reference; refer to both parameters where they are used',
      ],
      [
        "train.lrr",
        1,
        'train.lrr=1: Unknown parameter "train.lrr"; did you mean "train.lr"?',
      ],
    ];
    for (const [key, value, fault] of cases) {
      assertEquals(await faults([key, value]), [`-S ${fault}`, own]);
    }
    const [setting, _, ...more] = await faults(["train", 3]);
    assertMatch(setting!, /^-S train=3: Expected a mapping such as/);
    assertEquals(more, [], "the fault is the setting's in a list, too");
    const [matrix, ...others] = await faults(["glue", "cola"], ["rows", 4]);
    assertMatch(matrix!, /^-S glue=cola: /);
    assertEquals(others, [own], "what is set well is no fault");
  }));

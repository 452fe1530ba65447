import { assertEquals, assertIsError, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
import fetchData from "../../tasks/fetch-data.ts";
import { runTask, withFolder } from "./run_task.ts";

interface Given {
  /** Labels of the files' rows; a row without one lacks the column. */
  readonly train: readonly unknown[];
  readonly test?: readonly unknown[];
  readonly params?: Readonly<Record<string, unknown>>;
}

/** Runs fetch-data and gives the labels of each split. */
async function labelsOf({ train, test, params }: Given) {
  const splits: Record<string, (number | undefined)[]> = {};
  await withFolder(async (folder) => {
    const write = async (name: string, labels: readonly unknown[]) => {
      const path = join(folder, name);
      const lines = labels.map((label) => JSON.stringify({ text: "x", label }));
      await Deno.writeTextFile(path, lines.join("\n"));
      return path;
    };
    const files = {
      train: await write("train.jsonl", train),
      test: test && await write("test.jsonl", test),
    };
    const { output } = await runTask(fetchData, folder, { ...params, files });
    const info = await readDatasetInfo(output);
    for (const split of Object.keys(info.splits)) {
      const examples = await readExamples(output, info, split);
      splits[split] = examples.map(({ label }) => label);
    }
  });
  return splits;
}

const NONE = [undefined, undefined, undefined];

for (
  const [what, test] of [
    ["lacks the column", NONE],
    ["has empty labels", ["", " ", ""]],
    ["has null for labels", [null, null, null]],
    ["has -1 for labels", [-1, "-1", "-1.0"]],
    ["has nothing or -1 for labels", [null, "", -1]],
  ] as const
) {
  Deno.test(`fetch-data takes a test file that ${what} as one without labels`, async () => {
    const classes = await labelsOf({ train: ["a", "b"], test });
    assertEquals(classes.test, NONE);
    const params = { regression: true };
    const scores = await labelsOf({ train: [0.5, -2], test, params });
    assertEquals(scores.test, NONE);
  });
}

Deno.test("fetch-data takes -1 for a label of the test file where training has it as one", async () => {
  const test = [-1, -1];
  const classes = await labelsOf({ train: [1, -1], test });
  assertEquals(classes.test, [0, 0]);
  const params = { regression: true };
  const scores = await labelsOf({ train: ["1", "-1.0"], test, params });
  assertEquals(scores.test, [-1, -1]);
});

for (
  const [test, message] of [
    [["a", ""], /test\.jsonl:2: Expected a label, found nothing/],
    [[null, "a"], /test\.jsonl:1: Expected a label, found nothing/],
    [["a", -1], /test\.jsonl:2: Label "-1" is not one of the classes/],
  ] as const
) {
  Deno.test(`fetch-data refuses a test file with the labels ${JSON.stringify(test)}, of which only some are there`, async () => {
    assertIsError(
      await assertRejects(() => labelsOf({ train: ["a", "b"], test })),
      Error,
      message,
    );
  });
}

Deno.test("fetch-data leaves an example to train on, however large the holdout", async () => {
  const params = { holdout: 0.9 };
  const { train, validation } = await labelsOf({
    train: ["a", "b", "a", "b", "a"],
    params,
  });
  assertEquals(train!.length, 1);
  assertEquals(validation!.length, 4);
  assertIsError(
    await assertRejects(() =>
      labelsOf({ train: [1], params: { ...params, regression: true } })
    ),
    Error,
    /train\.jsonl" holds a single example, .* no holdout.*"files\.validation"/,
  );
});

import { assertRejects } from "@std/assert";
import { join } from "node:path";
import { readExamples, writeDataset } from "../../lib/artifacts/dataset.ts";
import { withFolder } from "../tasks/run_task.ts";

const info = {
  task: "films",
  problem: "classification",
  labels: ["bad", "good"],
  metrics: ["accuracy"],
  columns: ["text"],
};

Deno.test("readExamples() names the line that is no example", () =>
  withFolder(async (folder) => {
    const file = join(folder, "train.jsonl");
    for (
      const [line, message] of [
        ['{"index":0,"text":1}', '.jsonl:2" has invalid content'],
        ['{"index":0,', '.jsonl:2" is not valid JSON'],
      ] as const
    ) {
      await Deno.writeTextFile(file, `{"index":0,"text":"a"}\n${line}\n`);
      await assertRejects(
        () => readExamples(folder, "train"),
        SyntaxError,
        message,
      );
    }
  }));

Deno.test("writeDataset() refuses a label that is none of the classes", async () => {
  const splits = { train: [{ index: 0, text: "fun", label: 2 }] };
  await assertRejects(
    () => writeDataset("unused", info, splits),
    RangeError,
    'Label 2 of the split "train" is not one of the 2 class ids',
  );
});

import { assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  readDatasetInfo,
  readExamples,
  writeDataset,
} from "../../lib/artifacts/dataset.ts";
import { withFolder } from "../tasks/run_task.ts";

const info = {
  task: "films",
  problem: "classification",
  labels: ["bad", "good"],
  metrics: ["accuracy"],
  columns: ["text"],
};

Deno.test("readExamples() refuses lines that are not those of dataset.json", () =>
  withFolder(async (folder) => {
    await writeDataset(folder, info, { train: [{ index: 0, text: "fun" }] });
    const file = join(folder, "train.jsonl");
    for (
      const [line, message] of [
        ['{"index":0,"text":"a","pair":"b"}', "Expected 1 texts"],
        ['{"index":0,"text":"a","label":2}', "Label 2 is not one of the 2"],
        ['{"index":0,"text":"a"}\n{"index":1,"text":"b"}', "has 2 examples"],
      ] as const
    ) {
      await Deno.writeTextFile(file, `${line}\n`);
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

Deno.test("a split without examples is refused in a sentence, when it is written and when it is read", () =>
  withFolder(async (folder) => {
    await assertRejects(
      () => writeDataset(folder, info, { train: [] }),
      RangeError,
      'The split "train" of "films" has no examples: leave it out',
    );
    await writeDataset(folder, info, { train: [{ index: 0, text: "fun" }] });
    const path = join(folder, "dataset.json");
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.replace(/("train"): 1/, "$1: 0"));
    await assertRejects(
      () => readDatasetInfo(folder),
      SyntaxError,
      "A split has no examples: leave it out",
    );
  }));

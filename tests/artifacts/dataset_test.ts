import { assertRejects } from "@std/assert";
import { writeDataset } from "../../lib/artifacts/dataset.ts";

Deno.test("writeDataset() refuses a label that is none of the classes", async () => {
  const info = {
    task: "films",
    problem: "classification",
    labels: ["bad", "good"],
    metrics: ["accuracy"],
    columns: ["text"],
  };
  const splits = { train: [{ index: 0, text: "fun", label: 2 }] };
  await assertRejects(
    () => writeDataset("unused", info, splits),
    RangeError,
    'Label 2 of the split "train" is not one of the 2 class ids',
  );
});

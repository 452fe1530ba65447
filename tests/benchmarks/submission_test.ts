import {
  assert,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import { TextWriter, Uint8ArrayReader, ZipReader } from "@zip.js/zip.js";
import {
  type GlueTaskName,
  packSubmission,
  type TestPredictions,
} from "../../lib/benchmarks/glue.ts";

/** Lines of each file, header included, as the benchmark's server wants them. */
const LINES = {
  "CoLA.tsv": 1064,
  "SST-2.tsv": 1822,
  "MRPC.tsv": 1726,
  "STS-B.tsv": 1380,
  "QQP.tsv": 390966,
  "MNLI-m.tsv": 9797,
  "MNLI-mm.tsv": 9848,
  "QNLI.tsv": 5464,
  "RTE.tsv": 3001,
  "WNLI.tsv": 147,
  "AX.tsv": 1105,
};

/** Predictions 0, 1, 0, 1, ... for every test set. */
const complete: readonly TestPredictions[] = ([
  ["cola", 1063],
  ["sst2", 1821],
  ["mrpc", 1725],
  ["stsb", 1379],
  ["qqp", 390965],
  ["mnli", 9796, "test_matched"],
  ["mnli", 9847, "test_mismatched"],
  ["qnli", 5463],
  ["rte", 3000],
  ["wnli", 146],
  ["ax", 1104],
] as [GlueTaskName, number, string?][]).map((
  [task, count, split = "test"],
) => ({
  task,
  split,
  index: Int32Array.from({ length: count }, (_, i) => i),
  predictions: Float32Array.from({ length: count }, (_, i) => i % 2),
}));

async function unzip(bytes: Uint8Array): Promise<Map<string, string>> {
  const reader = new ZipReader(new Uint8ArrayReader(bytes), {
    useWebWorkers: false,
  });
  const texts = new Map<string, string>();
  for (const entry of await reader.getEntries()) {
    assert(!entry.directory);
    texts.set(entry.filename, await entry.getData(new TextWriter()));
  }
  await reader.close();
  return texts;
}

/** The submission with one test set changed. */
const changed = (
  task: GlueTaskName,
  change: (of: TestPredictions) => Partial<TestPredictions>,
) => complete.map((of) => of.task === task ? { ...of, ...change(of) } : of);

Deno.test("packSubmission() packs the files that the server expects, each with all its lines", async () => {
  const texts = await unzip(await packSubmission(complete));
  assertEquals(
    Object.fromEntries(
      [...texts].map(([name, text]) => [name, text.split("\n").length - 1]),
    ),
    LINES,
  );
  const start = (name: string) => texts.get(name)!.slice(0, 60).split("\n");
  for (const name of texts.keys()) {
    assertEquals(start(name)[0], "index\tprediction");
  }
  for (const name of ["CoLA", "SST-2", "MRPC", "QQP", "WNLI"]) {
    assertEquals(start(`${name}.tsv`).slice(1, 3), ["0\t0", "1\t1"]);
  }
  for (const name of ["QNLI", "RTE"]) {
    assertEquals(start(`${name}.tsv`).slice(1, 3), [
      "0\tentailment",
      "1\tnot_entailment",
    ]);
  }
  for (const name of ["MNLI-m", "MNLI-mm", "AX"]) {
    assertEquals(start(`${name}.tsv`).slice(1, 3), [
      "0\tentailment",
      "1\tneutral",
    ]);
  }
  assertEquals(start("STS-B.tsv").slice(1, 3), ["0\t0.000", "1\t1.000"]);
});

Deno.test("packSubmission() clips scores to 0..5 and puts examples in the order of their numbers", async () => {
  const bytes = await packSubmission([{
    task: "stsb",
    split: "test",
    index: [2, 0, 1],
    predictions: [6.2, -0.3, 2.34567],
  }], { partial: true });
  assertEquals([...await unzip(bytes)], [[
    "STS-B.tsv",
    "index\tprediction\n0\t0.000\n1\t2.346\n2\t5.000\n",
  ]]);
});

Deno.test("packSubmission() gives the same bytes each time", async () => {
  const small = complete.filter(({ task }) => task === "wnli");
  assertEquals(
    await packSubmission(small, { partial: true }),
    await packSubmission(small, { partial: true }),
  );
});

for (
  const [fault, predictions, message] of [
    ["a missing task", complete.slice(1), /^"CoLA.tsv" is missing$/m],
    [
      "a missing example",
      changed("rte", ({ index, predictions }) => ({
        index: Array.from(index).slice(1),
        predictions: Array.from(predictions).slice(1),
      })),
      /^"RTE.tsv" has 2999 examples, expected 3000$/m,
    ],
    [
      "foreign numbers",
      changed("wnli", ({ index }) => ({
        index: Array.from(index, (i) => i + 1),
      })),
      /^"WNLI.tsv" has no example 0$/m,
    ],
    [
      "a number given twice",
      changed("wnli", ({ index }) => ({ index: Array.from(index, () => 0) })),
      /^"WNLI.tsv" has a duplicate example index$/m,
    ],
    [
      "too few predictions",
      changed("cola", () => ({ predictions: [1] })),
      /^"CoLA.tsv" has 1 predictions for 1063 examples$/m,
    ],
    [
      "a class that is none",
      changed("qnli", ({ predictions }) => ({
        predictions: Array.from(predictions, () => 2),
      })),
      /^"QNLI.tsv" has the invalid prediction 2$/m,
    ],
    [
      "a score that is not a number",
      changed("stsb", ({ predictions }) => ({
        predictions: Array.from(predictions, () => NaN),
      })),
      /^"STS-B.tsv" has the invalid prediction NaN$/m,
    ],
    [
      "a test set given twice",
      [...complete, complete[0]!],
      /^"CoLA.tsv" is given twice$/m,
    ],
    [
      "a split that is no test set",
      changed("sst2", () => ({ split: "validation" })),
      /^GLUE has no test set "validation" for the task "sst2"$/m,
    ],
  ] as const
) {
  Deno.test(`packSubmission() refuses ${fault}`, async () => {
    assertIsError(
      await assertRejects(() => packSubmission(predictions)),
      Error,
      message,
    );
  });
}

import {
  assert,
  assertEquals,
  assertIsError,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
import { RemediedError } from "../../lib/pypi/remedied_error.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import { runTask, withFolder } from "./run_task.ts";
import { withEnvironment } from "../environment.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");
const source = join(fixtures, "tiny-glue");

Deno.test("fetch-glue draws the same subset every time, contained in any larger one", () =>
  withFolder(async (folder) => {
    const draw = async (train: number, seed: number) => {
      const { output } = await runTask(fetchGlue, folder, {
        task: "rte",
        source,
        limit: { train },
        seed,
      });
      const info = await readDatasetInfo(output);
      assertEquals(info.splits.train, train);
      const examples = await readExamples(output, "train");
      return examples.map(({ index }) => index);
    };
    const few = await draw(10, 1);
    assertEquals(await draw(10, 1), few);
    assertNotEquals(await draw(10, 2), few);
    assertEquals(few, few.toSorted((a, b) => a - b), "keeps their order");
    const more = await draw(20, 1);
    assert(few.every((index) => more.includes(index)));
  }));

Deno.test("fetch-glue expands validation to both validation splits of MNLI", () =>
  withFolder(async (folder) => {
    const { output } = await runTask(fetchGlue, folder, {
      task: "mnli",
      source,
      splits: ["validation"],
      limit: { validation: 5 },
    });
    assertEquals((await readDatasetInfo(output)).splits, {
      validation_matched: 5,
      validation_mismatched: 5,
    });
  }));

Deno.test("fetch-glue prefers the limit of a single split to that of several, in any order", () =>
  withFolder(async (folder) => {
    for (
      const limit of [
        { validation: 5, validation_matched: 3 },
        { validation_matched: 3, validation: 5 },
      ]
    ) {
      const { output } = await runTask(fetchGlue, folder, {
        task: "mnli",
        source,
        splits: ["validation"],
        limit,
      });
      assertEquals((await readDatasetInfo(output)).splits, {
        validation_matched: 3,
        validation_mismatched: 5,
      });
    }
  }));

Deno.test("fetch-glue rejects splits and limits that the task does not have, and limits for splits not requested", () => {
  const faultsOf = (params: Record<string, unknown>) =>
    fetchGlue.params.safeParse(params).error?.issues
      .map(({ path, message }) => `${path.join(".")}: ${message}`);
  assertEquals(
    faultsOf({
      task: "cola",
      splits: ["train", "test_matched"],
      limit: { train: 5, validation_matched: 5, test: 5 },
    }),
    [
      'splits.1: Expected a split of CoLA ("train", "validation", "test")',
      'limit.validation_matched: Expected a limit for a split of CoLA ("train", "validation", "test")',
      'limit.test: Expected a limit for a split in "splits" ("train")',
    ],
  );
  const limit = { train: 5, validation: 5 };
  for (const task of ["mnli", "cola"]) {
    assertEquals(faultsOf({ task, limit }), undefined);
  }
  const splits = ["train", "validation_mismatched"];
  assertEquals(faultsOf({ task: "mnli", splits, limit }), undefined);
});

Deno.test("fetch-glue logs a missing split, and fails if it was requested", () =>
  withFolder(async (folder) => {
    const own = join(folder, "RTE");
    await Deno.mkdir(own);
    await Deno.copyFile(join(source, "RTE/dev.tsv"), join(own, "dev.tsv"));
    const { log, output } = await runTask(fetchGlue, folder, {
      task: "rte",
      source: own,
    });
    assert(log.some((line) => /^train: .*RTE.train.tsv" does not/.test(line)));
    assertEquals(Object.keys((await readDatasetInfo(output)).splits), [
      "validation",
    ]);
    assertIsError(
      await assertRejects(() =>
        runTask(fetchGlue, folder, {
          task: "rte",
          source: folder,
          splits: ["train", "validation"],
        })
      ),
      Error,
      /RTE.train\.tsv" does not exist, .* split "train"/,
    );
    await assertRejects(
      () => runTask(fetchGlue, folder, { task: "mrpc", source: folder }),
      Error,
      'MRPC" contains none of the files "train.tsv", "dev.tsv", "test.tsv"',
    );
  }));

Deno.test("fetch-glue names only the files of its own task as sources", () => {
  const params = fetchGlue.params.parse({ task: "sst2", source: "/data/glue" });
  const sources = { source: join("/data/glue", "SST-2") };
  assertEquals(fetchGlue.sources!(params), sources);
  assertEquals(fetchGlue.sources!({ ...params, ...sources }), sources);
  assertEquals(fetchGlue.sources!({ ...params, source: "hub" }), {});
});

Deno.test("fetch-glue names a folder as the way without the hub", () =>
  withFolder(async (folder) => {
    await withEnvironment(
      { HF_HOME: folder, HF_HUB_OFFLINE: "1" },
      async () => {
        const error = await assertRejects(() =>
          runTask(fetchGlue, folder, { task: "rte" })
        );
        assertIsError(error, RemediedError, "-S data=FOLDER");
      },
    );
  }));

import { deepStrictEqual } from "node:assert/strict";
import type { Graph } from "../../lib/pipeline/graph.ts";
import { selectStages, withNeeds } from "../../lib/pipeline/select.ts";
import { load, withTasks } from "./fake_tasks.ts";

const PIPELINE = `
name: test
stages:
  data: { task: fetch, with: { source: x }, matrix: { glue: [mrpc, cola] } }
  train:
    task: train
    matrix: { glue: [mrpc, cola], seed: [0, 10] }
    inputs: { data: data[glue] }
  train-all: { task: train, inputs: { data: other } }
  other: { task: fetch, with: { source: y } }
  report: { task: report, inputs: { models: [train[*]] } }
`;

async function withGraph(test: (graph: Graph) => void): Promise<void> {
  await withTasks(async (tasks) => test(await load(tasks, PIPELINE)));
}

Deno.test("selectStages() takes an id, a name, a prefix and a glob", () =>
  withGraph((graph) => {
    const select = (...patterns: string[]) =>
      selectStages(graph, patterns).stages.join(" ");
    deepStrictEqual(select("train@mrpc,seed=0"), "train@mrpc,seed=0");
    deepStrictEqual(
      select("train@mrpc"),
      "train@mrpc,seed=0 train@mrpc,seed=10",
    );
    deepStrictEqual(
      select("train"),
      "train@mrpc,seed=0 train@mrpc,seed=10 train@cola,seed=0 train@cola,seed=10",
    );
    deepStrictEqual(
      select("*@cola*"),
      "data@cola train@cola,seed=0 train@cola,seed=10",
    );
    deepStrictEqual(select("train@*seed=?"), select("train@*seed=0"));
    deepStrictEqual(select("other", "data@mrpc"), "data@mrpc other");
  }));

Deno.test("selectStages() takes no part of a component for the whole", () =>
  withGraph((graph) => {
    deepStrictEqual(selectStages(graph, ["train@mr", "train@mrpc,seed=1"]), {
      stages: [],
      problems: [
        'No stage matches "train@mr"; did you mean "train@mrpc"?',
        'No stage matches "train@mrpc,seed=1"; did you mean "train@mrpc,seed=0"?',
      ],
    });
  }));

Deno.test("withNeeds() adds what stages need, and nothing else", () =>
  withGraph((graph) => {
    deepStrictEqual(withNeeds(graph, ["train@cola,seed=0", "train-all"]), [
      "data@cola",
      "other",
      "train@cola,seed=0",
      "train-all",
    ]);
  }));

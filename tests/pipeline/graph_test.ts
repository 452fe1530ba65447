import { assertEquals } from "@std/assert";

import {
  type Graph,
  groupStages,
  matchStages,
} from "../../lib/pipeline/graph.ts";
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

async function withGraph(test: (graph: Graph) => Promise<void>): Promise<void> {
  await withTasks(async (tasks) => await test(await load(tasks, PIPELINE)));
}

Deno.test("matchStages() takes an id, a name, a prefix and a glob", () =>
  withGraph(async (graph) => {
    const match = async (...patterns: string[]) =>
      (await matchStages(graph, patterns)).stages.join(" ");
    assertEquals(await match("train@mrpc,seed=0"), "train@mrpc,seed=0");
    assertEquals(
      await match("train@mrpc"),
      "train@mrpc,seed=0 train@mrpc,seed=10",
    );
    assertEquals(
      await match("train"),
      "train@mrpc,seed=0 train@mrpc,seed=10 train@cola,seed=0 train@cola,seed=10",
    );
    assertEquals(
      await match("*@cola*"),
      "data@cola train@cola,seed=0 train@cola,seed=10",
    );
    assertEquals(await match("train@*seed=?"), await match("train@*seed=0"));
    assertEquals(await match("other", "data@mrpc"), "data@mrpc other");
  }));

Deno.test("matchStages() does not match a part of a component", () =>
  withGraph(async (graph) => {
    assertEquals(await matchStages(graph, ["train@mr", "train@mrpc,seed=1"]), {
      stages: [],
      problems: [
        'No stage matches "train@mr"; did you mean "train@mrpc"?',
        'No stage matches "train@mrpc,seed=1"; did you mean "train@mrpc,seed=0"?',
      ],
    });
  }));

Deno.test("groupStages() gives each name what its stages need, and its depth", () => {
  const groups = groupStages([
    { id: "data", name: "data", inputs: {} },
    { id: "start@rte", name: "start", inputs: { data: ["data"] } },
    { id: "train@mrpc", name: "train", inputs: { data: ["data", "hidden"] } },
    { id: "train@rte", name: "train", inputs: { start: ["start@rte"] } },
  ]);
  assertEquals(groups, [
    { name: "data", stages: ["data"], inputs: [], needs: [], depth: 0 },
    {
      name: "start",
      stages: ["start@rte"],
      inputs: ["data"],
      needs: ["data"],
      depth: 1,
    },
    {
      name: "train",
      stages: ["train@mrpc", "train@rte"],
      inputs: ["data", "start"],
      needs: ["start"],
      depth: 2,
    },
  ]);
});

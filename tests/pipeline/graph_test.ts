import { assertEquals } from "@std/assert";

import { type Graph, matchStages } from "../../lib/pipeline/graph.ts";
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

Deno.test("matchStages() takes an id, a name, a prefix and a glob", () =>
  withGraph((graph) => {
    const match = (...patterns: string[]) =>
      matchStages(graph, patterns).stages.join(" ");
    assertEquals(match("train@mrpc,seed=0"), "train@mrpc,seed=0");
    assertEquals(match("train@mrpc"), "train@mrpc,seed=0 train@mrpc,seed=10");
    assertEquals(
      match("train"),
      "train@mrpc,seed=0 train@mrpc,seed=10 train@cola,seed=0 train@cola,seed=10",
    );
    assertEquals(
      match("*@cola*"),
      "data@cola train@cola,seed=0 train@cola,seed=10",
    );
    assertEquals(match("train@*seed=?"), match("train@*seed=0"));
    assertEquals(match("other", "data@mrpc"), "data@mrpc other");
  }));

Deno.test("matchStages() does not match a part of a component", () =>
  withGraph((graph) => {
    assertEquals(matchStages(graph, ["train@mr", "train@mrpc,seed=1"]), {
      stages: [],
      problems: [
        'No stage matches "train@mr"; did you mean "train@mrpc"?',
        'No stage matches "train@mrpc,seed=1"; did you mean "train@mrpc,seed=0"?',
      ],
    });
  }));

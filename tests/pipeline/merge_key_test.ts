import { deepStrictEqual, match } from "node:assert/strict";
import { faultsOf, load, withTasks } from "./fake_tasks.ts";

function pipeline(params: string, parameters: string): string {
  return `
name: test
params: ${params}
stages:
  data: { task: fetch, with: { source: x } }
  train:
    task: train
    with: ${parameters}
    inputs: { data: data }
`;
}

Deno.test("loadPipeline() takes over a mapping under the merge key, what stands beside it wins", () =>
  withTasks(async (tasks) => {
    const { stages } = await load(
      tasks,
      pipeline(
        "{ train: { lr: 0.5, seed: 1 } }",
        "{ seed: 2, <<: ${params.train} }",
      ),
    );
    deepStrictEqual(stages.get("train")!.params, { lr: 0.5, seed: 2 });
  }));

Deno.test("loadPipeline() reports what is no mapping, or no parameter of the task, under the merge key", () =>
  withTasks(async (tasks) => {
    match(
      (await faultsOf(
        tasks,
        pipeline("{ train: 3 }", "{ <<: ${params.train} }"),
      )).join(),
      /Expected a mapping such as \$\{params.train\} under "<<", found 3/,
    );
    match(
      (await faultsOf(
        tasks,
        pipeline("{ train: { lr: fast } }", "{ <<: ${params.train} }"),
      )).join(),
      /lr/,
    );
  }));

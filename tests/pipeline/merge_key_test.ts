import { assertEquals } from "@std/assert";
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
    assertEquals(stages.get("train")!.params, { lr: 0.5, seed: 2 });
  }));

Deno.test("loadPipeline() marks the merge key for what is wrong with what it takes over", () =>
  withTasks(async (tasks) => {
    const faults = (params: string, parameters: string) =>
      faultsOf(tasks, pipeline(params, parameters));
    assertEquals(
      await faults("{ train: 3 }", "{ seed: x, <<: ${params.train} }"),
      [
        '8:19 Invalid "seed" of task "train": expected a number, got text "x"',
        '8:26 Expected a mapping such as ${params.train} under "<<", got "3"',
      ],
    );
    assertEquals(
      await faults(
        "{ train: { lr: fast, sed: 1 } }",
        "{ seed: 1, <<: ${params.train} }",
      ),
      [
        '8:22 Unknown key "sed" of task "train" from "${params.train}"; did you mean "seed"?',
        '8:26 Invalid "lr" of task "train": expected a number, got text "fast" from "${params.train}"',
      ],
    );
    assertEquals(
      await faults("{ train: {} }", "{ sed: 1, <<: ${params.tran} }"),
      [
        '8:13 Unknown key "sed" of task "train"; did you mean "seed"?',
        '8:25 "params" has no "tran"; did you mean "train"?',
      ],
    );
  }));

import { assert } from "@std/assert";
import fc from "fast-check";
import { mutatedText, staysBounded, testProperty } from "../fuzz.ts";
import { faultsOf, withTasks } from "./fake_tasks.ts";

const SOUND = `name: test
params: { tasks: [mrpc, cola], lr: 1e-3, tuned: { mrpc: { lr: 1 } } }
profiles: { quick: { lr: 2 } }
show: report/report.md
stages:
  data: { task: fetch, matrix: { glue: \${params.tasks} }, with: { source: x } }
  train:
    task: train
    matrix: { glue: [mrpc], seed: [0, 1], include: [{ lr: 2 }], exclude: [{ seed: 1 }] }
    with: { lr: \${params.tuned[matrix.glue].lr} }
    inputs: { data: data[glue] }
    resources: { cpus: 1, memory: 4GB, time: 1h }
  report: { task: report, inputs: { models: train[*] } }
`;

const piece = fc.oneof(
  fc.constantFrom(
    ..."name params profiles stages task with matrix include exclude inputs \
resources cpus mutex show fetch train report data *a &a !!binary ${params. \
${matrix.glue} [*] { } [ ] : - , # | > ' \" ? ~ .inf 1e999 \ue001 \x00 \u2028 \
__proto__ constructor"
      .split(" "),
    "\n",
    "\n  ",
    "\t",
    ": ",
    "- ",
  ),
  fc.string({ maxLength: 5, unit: "binary" }),
);

const scrap = fc.array(piece, { maxLength: 60 }).map((it) => it.join(""));

testProperty(
  "expandPipeline() gives a graph or faults for any text",
  () =>
    withTasks((tasks) =>
      staysBounded(
        fc.oneof(mutatedText(SOUND, piece), scrap),
        async (text) => {
          const faults = await faultsOf(tasks, text);
          for (const fault of faults) assert(fault.length > 10, fault);
        },
      )
    ),
);

/** Values as YAML's flow style, which JSON is part of, puts them anywhere. */
testProperty(
  "expandPipeline() gives a graph or faults for any values",
  () =>
    withTasks(async (tasks) => {
      const value = fc.jsonValue({ maxDepth: 2 });
      const key = fc.constantFrom(
        ..."task with matrix inputs resources mutex retries timeout glue seed"
          .split(" "),
      );
      const stage = fc.dictionary(key, value, { maxKeys: 5 }).map((it) => ({
        task: "train",
        ...it,
      }));
      const file = fc.record({
        name: fc.oneof(fc.constant("test"), value),
        params: value,
        profiles: fc.oneof(value, fc.dictionary(key, value)),
        show: value,
        stages: fc.oneof(value, fc.dictionary(key, stage)),
      }, { requiredKeys: [] });
      await staysBounded(
        file,
        (file) => faultsOf(tasks, JSON.stringify(file)),
      );
    }),
);

import {
  assertEquals,
  assertIsError,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readText } from "../../lib/pipeline/faults.ts";
import { load, withTasks } from "./fake_tasks.ts";

const PIPELINE = `
name: test
params:
  tasks: [mrpc, cola]
  seeds: [0, 1]
  train: { lr: 1e-3 }
  tuned: { mrpc: { lr: 4e-4 }, cola: { lr: 5e-4 } }
profiles:
  quick: { seeds: [7], train.lr: 0.5 }
  nested: { tuned: { mrpc: { lr: 1 } } }
show: report/report.md
stages:
  report: { task: report, inputs: { models: [train[*], plain] } }
  train:
    task: train
    matrix: { glue: \${params.tasks}, seed: \${params.seeds} }
    with: { lr: \${params.tuned[matrix.glue].lr}, seed: \${matrix.seed} }
    inputs: { data: data[glue] }
    resources: { cpus: 2, gpu: 1, memory: 4GB, time: 1h30m }
    mutex: disk-\${matrix.glue}
    retries: 2
    timeout: 90s
  plain:
    task: train
    with: { lr: \${params.train.lr} }
    inputs: { data: other }
  data:
    task: fetch
    matrix: { glue: \${params.tasks} }
    with: { source: "hub/\${matrix.glue}" }
  other: { task: fetch, with: { source: x, options: { mode: all } } }
`;

Deno.test("expandPipeline() expands stages in topological order", () =>
  withTasks(async (tasks) => {
    const { pipeline, stages, show } = await load(tasks, PIPELINE);
    assertEquals(pipeline, "test");
    assertEquals([...stages.keys()], [
      "data@mrpc",
      "data@cola",
      "other",
      "train@mrpc,seed=0",
      "train@mrpc,seed=1",
      "train@cola,seed=0",
      "train@cola,seed=1",
      "plain",
      "report",
    ]);
    assertEquals(show, [{ stage: "report", file: "report.md" }]);
  }));

Deno.test("expandPipeline() resolves everything that a stage has", () =>
  withTasks(async (tasks) => {
    const { stages } = await load(tasks, PIPELINE);
    const { declaration, module, ...stage } = stages.get("train@cola,seed=1")!;
    assertEquals(stage, {
      id: "train@cola,seed=1",
      name: "train",
      matrix: { glue: "cola", seed: 1 },
      task: "train",
      params: { lr: 5e-4, seed: 1 },
      inputs: { data: ["data@cola"] },
      resources: { cpus: 2, gpu: 1, memory: 4e9, time: 5400 },
      mutex: "disk-cola",
      retries: 2,
      timeout: 90,
    });
    assertEquals(declaration, {
      inputs: {
        data: { kind: "dataset" },
        start: { kind: "model", optional: true },
      },
      output: { kind: "model", files: ["model.txt"] },
      needs: ["engine"],
      timings: false,
      places: false,
      local: false,
      sources: false,
    });
    assertEquals(module, new URL(`file://${tasks}/train.ts`).href);
    assertEquals(stages.get("report")!.inputs, {
      models: [
        "train@mrpc,seed=0",
        "train@mrpc,seed=1",
        "train@cola,seed=0",
        "train@cola,seed=1",
        "plain",
      ],
    });
    assertEquals(stages.get("other")!.params, {
      source: "x",
      rows: 10,
      options: { mode: "all" },
    });
    assertEquals(stages.get("data@mrpc")!.declaration.sources, true);
  }));

Deno.test("expandPipeline() applies a profile, then settings", () =>
  withTasks(async (tasks) => {
    const lr = async (id: string, options: Parameters<typeof load>[2]) => {
      const { stages } = await load(tasks, PIPELINE, options);
      return stages.get(id)?.params.lr;
    };
    assertEquals(await lr("plain", {}), 1e-3);
    assertEquals(await lr("plain", { profile: "quick" }), 0.5);
    assertEquals(await lr("train@mrpc,seed=7", { profile: "quick" }), 4e-4);
    assertEquals(await lr("train@mrpc,seed=0", { profile: "nested" }), 1);
    assertEquals(await lr("train@cola,seed=0", { profile: "nested" }), 5e-4);
    assertEquals(
      await lr("plain", {
        profile: "quick",
        settings: [{ key: "train.lr", value: 2 }],
      }),
      2,
    );
  }));

const CHAIN = (exclude: string) => `
name: test
stages:
  data: { task: fetch, with: { source: x } }
  first:
    task: train
    matrix: { glue: [mrpc, cola], exclude: ${exclude} }
    inputs: { data: data }
  second:
    task: train
    matrix: { glue: [mrpc, cola] }
    inputs: { data: data, start: "first[glue]" }
  report: { task: report, inputs: { models: ["first[*]", "second[*]"] } }
`;

Deno.test("expandPipeline() makes no stage where all places are excluded, and leaves out the inputs that name it", () =>
  withTasks(async (tasks) => {
    const some = await load(tasks, CHAIN("[{ glue: cola }]"));
    assertEquals(some.stages.get("second@mrpc")!.inputs.start, [
      "first@mrpc",
    ]);
    assertEquals(Object.keys(some.stages.get("second@cola")!.inputs), ["data"]);
    const { stages } = await load(
      tasks,
      CHAIN("[{ glue: cola }, { glue: mrpc }]"),
    );
    assertEquals(
      [...stages.keys()].some((id) => id.startsWith("first")),
      false,
    );
    assertEquals(Object.keys(stages.get("second@mrpc")!.inputs), ["data"]);
    assertEquals(stages.get("report")!.inputs.models, [
      "second@mrpc",
      "second@cola",
    ]);
  }));

Deno.test("expandPipeline() makes no stage for an empty list that a parameter gives, until a profile fills it", () =>
  withTasks(async (tasks) => {
    const text = `
name: test
params: { more: [] }
profiles: { all: { more: [mrpc] } }
stages:
  data: { task: fetch, with: { source: x } }
  first: { task: train, matrix: { glue: [a, b], more: "\${params.more}" }, inputs: { data: data } }
  second: { task: train, inputs: { data: data } }
  report: { task: report, inputs: { models: ["first[*]", second] } }
`;
    const { stages } = await load(tasks, text);
    assertEquals(stages.get("report")!.inputs.models, ["second"]);
    assertEquals([...stages.keys()].length, 3);
    const filled = await load(tasks, text, { profile: "all" });
    assertEquals(filled.stages.get("report")!.inputs.models, [
      "first@a,mrpc",
      "first@b,mrpc",
      "second",
    ]);
  }));

Deno.test("expandPipeline() refuses an input that needs a stage whose places are all excluded", () =>
  withTasks(async (tasks) => {
    const text = `
name: test
stages:
  data: { task: fetch, matrix: { glue: [mrpc], exclude: [{ glue: mrpc }] }, with: { source: x } }
  one: { task: train, inputs: { data: data } }
  report: { task: report, inputs: { models: "all[*]" } }
  all: { task: train, matrix: { glue: [mrpc], exclude: [{ glue: mrpc }] }, inputs: { data: data } }
`;
    const { message } = await assertRejects(
      () => load(tasks, text),
      Error,
      'No stage "data" matches "one"',
    );
    assertStringIncludes(
      message,
      'Input "models" of "report" has no artifact: the matrix of "all" has no combinations left',
    );
  }));

Deno.test("expandPipeline() takes references unquoted in flow and in block style", () =>
  withTasks(async (tasks) => {
    const { stages } = await load(
      tasks,
      `
name: test
params: { glue: [mrpc, cola], text: "a # b" }
stages:
  data: { task: fetch, matrix: { glue: \${params.glue} }, with: { source: \${params.text}-\${matrix.glue} } } # \${params.x}
  block:
    task: train
    matrix:
      glue: \${params.glue}
      seed: [1]
    with:
      note: "data[glue, *] \${matrix.glue}"
    inputs:
      data: data[glue]
  report: { task: report, inputs: { models: block[*] } }
  some: { task: report, matrix: { glue: [cola] }, inputs: { models: block[glue, *] } }
`,
    );
    assertEquals(stages.get("data@cola")!.params.source, "a # b-cola");
    assertEquals(
      stages.get("block@mrpc,seed=1")!.params.note,
      "data[glue, *] mrpc",
    );
    assertEquals(stages.get("some@cola")!.inputs.models, [
      "block@cola,seed=1",
    ]);
  }));

Deno.test("expandPipeline() lets 'include' give settings to combinations", () =>
  withTasks(async (tasks) => {
    const { stages } = await load(
      tasks,
      `
name: test
stages:
  data: { task: fetch, with: { source: x } }
  train:
    task: train
    matrix:
      glue: [mrpc, cola, rte]
      include:
        - { lr: 1 }
        - { glue: mrpc, lr: 2 }
      exclude:
        - { glue: rte }
    with: { lr: "\${matrix.lr}" }
    inputs: { data: data }
`,
    );
    assertEquals(stages.get("train@mrpc")!.params.lr, 2);
    assertEquals(stages.get("train@cola")!.params.lr, 1);
    assertEquals(stages.has("train@rte"), false);
  }));

Deno.test("readText() reads only files of a valid size and encoding", () =>
  withTasks(async (tasks) => {
    const refuses = async (name: string, message: RegExp) => {
      assertIsError(
        await assertRejects(() => readText(join(tasks, name))),
        Error,
        message,
      );
    };
    await refuses("none.yaml", /none\.yaml: The file does not exist/);
    await mkdir(join(tasks, "folder.yaml"));
    await refuses("folder.yaml", /folder\.yaml: It is not a regular file/);
    await symlink("/dev/zero", join(tasks, "endless.yaml"));
    await refuses("endless.yaml", /It is not a regular file/);
    await writeFile(join(tasks, "large.yaml"), "#".repeat(300_000));
    await refuses(
      "large.yaml",
      /The file has 300000 bytes; the maximum for a pipeline file is 262144/,
    );
    await writeFile(join(tasks, "latin.yaml"), new Uint8Array([0x6e, 0xe4]));
    await refuses("latin.yaml", /The file is not valid UTF-8/);
  }));

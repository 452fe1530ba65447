import { assertEquals, assertIsError, assertRejects } from "@std/assert";
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

Deno.test("expandPipeline() makes no stage where one that it needs has no places, and refuses an input that needs any", () =>
  withTasks(async (tasks) => {
    const text = `
name: test
stages:
  data: { task: fetch, matrix: { glue: [mrpc], exclude: [{ glue: mrpc }] }, with: { source: x } }
  one: { task: train, matrix: { seed: [0], include: [{ seed: 0, lr: 1 }] }, inputs: { data: data } }
  two: { task: train, inputs: { data: other } }
  other: { task: fetch, with: { source: x } }
  report: { task: report, inputs: { models: ["one[*]", "two"] } }
`;
    const { stages } = await load(tasks, text);
    assertEquals([...stages.keys()], ["other", "two", "report"]);
    assertEquals(stages.get("report")!.inputs.models, ["two"]);
    await assertRejects(
      () => load(tasks, text.replace(', "two"', "")),
      Error,
      'Input "models" of "report" has no artifact: "one" has no stages, by "if" or an empty matrix',
    );
  }));

Deno.test("expandPipeline() leaves out a stage whose condition is null or false, and what needs it", () =>
  withTasks(async (tasks) => {
    const text = `
name: test
params: { test: null }
show: [report/a.md, more/a.md]
stages:
  data: { task: fetch, with: { source: x } }
  held: { task: fetch, if: "\${params.test}", with: { source: "\${params.test}" } }
  one: { task: train, inputs: { data: data } }
  other: { task: train, matrix: { seed: [0, 1] }, inputs: { data: held } }
  report: { task: report, inputs: { models: [one, "other[*]"] } }
  more: { task: report, if: "\${params.test}", inputs: { models: "other[*]" } }
`;
    const idsWith = async (test: unknown) => {
      const settings = [{ key: "test", value: test }];
      const { stages, show } = await load(tasks, text, { settings });
      return [[...stages.keys()].join(" "), show.length];
    };
    const without = ["data one report", 1];
    assertEquals(await idsWith(null), without);
    assertEquals(await idsWith(false), without);
    assertEquals(await idsWith("a.csv"), [
      "data held one other@seed=0 other@seed=1 report more",
      2,
    ]);
  }));

Deno.test("expandPipeline() refuses a condition that is neither true, false nor null, or refers to a matrix", () =>
  withTasks(async (tasks) => {
    const text = (condition: string) => `
name: test
stages:
  data: { task: fetch, if: ${condition}, matrix: { glue: [a] }, with: { source: x } }
`;
    await assertRejects(
      () => load(tasks, text("some")),
      Error,
      'Invalid "if" of stage "data"',
    );
    await assertRejects(
      () => load(tasks, text('"\${matrix.glue}"')),
      Error,
      '"${matrix.glue}" is not available here; only "params" is',
    );
  }));

const FLOW = `
name: test
params: { tasks: [mrpc, cola], seeds: [0, 1] }
stages:
  data: { task: fetch, matrix: { glue: "\${params.tasks}" }, with: { source: x } }
  train:
    task: train
    matrix: { seed: "\${params.seeds}", lr: [1, 2] }
    with: { lr: "\${matrix.lr}", note: "\${matrix.glue}" }
    inputs: { data: data }
  more: { task: train, inputs: { data: data, start: train } }
  largest: { task: train, matrix: { lr: [2], by: [x] }, inputs: { start: train, data: data } }
  some:
    task: train
    matrix: { exclude: [{ glue: mrpc, lr: [1, 3] }, { seed: [0] }] }
    inputs: { data: data, start: more }
  by-seed: { task: report, inputs: { models: "train[seed]" } }
  by-task: { task: report, inputs: { models: ["train[glue, *]", "largest[glue]"] } }
  each: { task: report, inputs: { models: [train, more] } }
  all: { task: report, inputs: { models: "train[*]" } }
`;

Deno.test("expandPipeline() gives a stage the dimensions of its inputs, and those that its matrix adds", () =>
  withTasks(async (tasks) => {
    const { stages } = await load(tasks, FLOW);
    const ids = (name: string) =>
      [...stages.values()].filter((it) => it.name === name)
        .map(({ id }) => id.replace(`${name}@`, ""));
    const places = ["mrpc", "cola"].flatMap((glue) =>
      [0, 1].flatMap((seed) =>
        [1, 2].map((lr) => `${glue},seed=${seed},lr=${lr}`)
      )
    );
    assertEquals(ids("train"), places);
    assertEquals(stages.get("train@cola,seed=1,lr=2")!.params, {
      lr: 2,
      note: "cola",
      seed: 0,
    });
    // Stages that share dimensions have the same values there.
    assertEquals(ids("more"), places);
    assertEquals(stages.get("more@cola,seed=1,lr=2")!.inputs, {
      data: ["data@cola"],
      start: ["train@cola,seed=1,lr=2"],
    });
    // The values of the matrix take precedence.
    assertEquals(ids("largest"), [
      "mrpc,seed=0,lr=2,x",
      "mrpc,seed=1,lr=2,x",
      "cola,seed=0,lr=2,x",
      "cola,seed=1,lr=2,x",
    ]);
    assertEquals(stages.get("largest@cola,seed=1,lr=2,x")!.inputs.start, [
      "train@cola,seed=1,lr=2",
    ]);
    assertEquals(ids("some"), [
      "mrpc,seed=1,lr=2",
      "cola,seed=1,lr=1",
      "cola,seed=1,lr=2",
    ]);
  }));

Deno.test("expandPipeline() selects by the dimensions in brackets, and gathers over the others", () =>
  withTasks(async (tasks) => {
    const { stages } = await load(tasks, FLOW);
    const models = (id: string) => stages.get(id)!.inputs.models;
    assertEquals(models("by-seed@seed=1"), [
      "train@mrpc,seed=1,lr=1",
      "train@mrpc,seed=1,lr=2",
      "train@cola,seed=1,lr=1",
      "train@cola,seed=1,lr=2",
    ]);
    assertEquals(models("by-task@cola")!.length, 6);
    assertEquals(models("each@cola,seed=1,lr=2"), [
      "train@cola,seed=1,lr=2",
      "more@cola,seed=1,lr=2",
    ]);
    assertEquals(models("all")!.length, 8);
  }));

Deno.test("expandPipeline() adds what 'defaults' has to the stages that do not have it", () =>
  withTasks(async (tasks) => {
    const { stages } = await load(
      tasks,
      `
name: test
params: { lr: 3 }
defaults:
  with: { train: { <<: "\${params}", seed: "\${matrix.seed}", note: default } }
  inputs: { data: data }
  resources: { cpus: 2, memory: 1KB }
  retries: 1
  timeout: 1m
stages:
  data: { task: fetch, with: { source: x } }
  other: { task: fetch, with: { source: x }, retries: 0 }
  a: { task: train, matrix: { seed: [4] } }
  b:
    task: train
    matrix: { seed: [5] }
    with: { lr: 1, note: own }
    inputs: { data: other }
    resources: { cpus: 1 }
`,
    );
    const { params, inputs, resources, retries, timeout } = stages.get(
      "a@seed=4",
    )!;
    assertEquals(params, { lr: 3, seed: 4, note: "default" });
    assertEquals(inputs, { data: ["data"] });
    assertEquals(resources, { cpus: 2, gpu: 0, memory: 1000 });
    assertEquals([retries, timeout], [1, 60]);
    const own = stages.get("b@seed=5")!;
    assertEquals(own.params, { lr: 1, seed: 5, note: "own" });
    assertEquals(own.inputs, { data: ["other"] });
    assertEquals(own.resources, { cpus: 1, gpu: 0, memory: 1000 });
    assertEquals(stages.get("other")!.retries, 0);
    assertEquals(stages.get("other")!.inputs, {});
  }));

Deno.test("expandPipeline() takes all for the processors of this machine", () =>
  withTasks(async (tasks) => {
    const { stages } = await load(
      tasks,
      `
name: test
params: { cpus: all }
stages:
  data:
    task: fetch
    with: { source: x }
    resources: { cpus: "\${params.cpus}" }
`,
    );
    const { cpus } = stages.get("data")!.resources;
    assertEquals(cpus, navigator.hardwareConcurrency);
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

Deno.test("readText() reads only files of a valid encoding", () =>
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
    await writeFile(join(tasks, "latin.yaml"), new Uint8Array([0x6e, 0xe4]));
    await refuses("latin.yaml", /The file is not valid UTF-8/);
  }));

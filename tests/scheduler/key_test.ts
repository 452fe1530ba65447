import { assert, assertEquals } from "@std/assert";
import { sectionsOf } from "../../lib/scheduler/bundle.ts";
import { Store } from "../../lib/store/store.ts";
import { withEnvironment } from "../environment.ts";
import { engine, type StageOptions, TestProject } from "./project.ts";

const TRAIN: StageOptions = {
  task: "train",
  params: { data: "data.txt", lr: 1, deep: { list: [1, 2] } },
};
const STAGES: Record<string, StageOptions> = {
  "train@m=a": { ...TRAIN, matrix: { m: "a" } },
  each: { task: "each", inputs: { from: ["train@m=a"] } },
  all: { task: "all", inputs: { from: ["train@m=a"] } },
};

/**
 * A project whose stages have run: one with a source and a runtime, one that
 * reads it, and one that takes many inputs.
 */
async function ranProject(): Promise<TestProject> {
  const project = new TestProject();
  project.write("data.txt", "data");
  project.task(
    "train",
    "return Deno.readTextFileSync(params.data) + Deno.env.get('GIVEN');",
    {
      rest:
        `sources: (params: any) => ({ data: params.data }), needs: ["engine"], permissions: { env: ["GIVEN"] },`,
    },
  );
  project.task("each", "return read('from');", {
    inputs: { from: { kind: "text" } },
  });
  project.task("all", "return readAll('from').join();", {
    inputs: { from: { kind: "text", many: true } },
  });
  const { summary } = await project.run(STAGES, engine("one"));
  assertEquals(summary.ran, 3);
  return project;
}

/** Ids of the stages that would run. */
async function toRun(
  project: TestProject,
  stages: Record<string, StageOptions>,
  more = engine("one"),
): Promise<string[]> {
  const plan = await project.plan(stages, more);
  return [...plan].flatMap(([id, { state }]) =>
    ["run", "unknown"].includes(state) ? [id] : []
  );
}

function train(more: Partial<StageOptions>): Record<string, StageOptions> {
  return { ...STAGES, "train@m=a": { ...STAGES["train@m=a"]!, ...more } };
}

/** The same stages with another name and matrix of the first. */
function renamed(id: string, m: string): Record<string, StageOptions> {
  return {
    [id]: { ...TRAIN, matrix: { m } },
    each: { task: "each", inputs: { from: [id] } },
    all: { task: "all", inputs: { from: [id] } },
  };
}

Deno.test("keys contain parameters, sources with their names, inputs and runtimes", async () => {
  using project = await ranProject();
  const all = Object.keys(STAGES);
  const params = TRAIN.params!;
  const cases: [string, Record<string, StageOptions>, string[]][] = [
    ["nothing", STAGES, []],
    ["a parameter", train({ params: { ...params, lr: 2 } }), all],
    [
      "a part of a parameter",
      train({ params: { ...params, deep: { list: [1, 3] } } }),
      all,
    ],
    ["a new parameter", train({ params: { ...params, x: null } }), all],
    ["the id of one of many inputs", renamed("fit@m=a", "a"), ["all"]],
    ["the matrix of one of many inputs", renamed("train@m=a", "b"), ["all"]],
    [
      "one of many inputs more",
      {
        ...STAGES,
        all: { ...STAGES.all!, inputs: { from: ["train@m=a", "each"] } },
      },
      ["all"],
    ],
  ];
  for (const [name, stages, expected] of cases) {
    assertEquals(await toRun(project, stages), expected, name);
  }
  assertEquals(await toRun(project, STAGES, engine("two")), all);
  const threaded = engine("one", { threaded: true });
  assertEquals(await toRun(project, STAGES, threaded), all);
  project.write("elsewhere/data.txt", "data");
  const elsewhere = { ...params, data: "elsewhere/data.txt" };
  assertEquals(await toRun(project, train({ params: elsewhere })), []);
  project.write("other.txt", "data");
  const other = { ...params, data: "other.txt" };
  assertEquals(await toRun(project, train({ params: other })), all);
  project.write("data.txt", "other");
  assertEquals(await toRun(project, STAGES), all);
});

Deno.test("keys do not contain the stage's name, resources, location or access rights", async () => {
  using project = await ranProject();
  const cases: [string, Partial<StageOptions>][] = [
    ["resources", { resources: { cpus: 2, memory: 1e8 } }],
    ["mutex", { mutex: "m" }],
    ["retries", { retries: 3 }],
    ["timeout", { timeout: 60 }],
  ];
  for (const [name, more] of cases) {
    assertEquals(await toRun(project, train(more)), [], name);
  }
  const access = engine("one", {
    settings: { library: "/elsewhere" },
    env: { ENGINE_HOME: "/elsewhere" },
    flags: ["--allow-ffi"],
  });
  assertEquals(await toRun(project, STAGES, access), []);
  await withEnvironment({ GIVEN: "a token" }, async () => {
    assertEquals(await toRun(project, STAGES), []);
  });
  const { each, ...others } = renamed("fit@m=a", "a");
  assertEquals(await toRun(project, { ...others, every: each! }), ["all"]);
});

Deno.test("keys contain the processors of a stage when its runtime is threaded", async () => {
  using project = await ranProject();
  const threaded = engine("one", { threaded: true });
  const with2 = train({ resources: { cpus: 2 } });
  const { summary } = await project.run(with2, threaded);
  assertEquals(summary.ran, 1);
  assertEquals(await toRun(project, with2, threaded), []);
  assertEquals(await toRun(project, STAGES, threaded), Object.keys(STAGES));
  const moreMemory = train({ resources: { cpus: 2, memory: 1e8 } });
  assertEquals(await toRun(project, moreMemory, threaded), []);
});

Deno.test("keys contain only what lib/scheduler/README.md lists", async () => {
  using project = await ranProject();
  const store = new Store(project.path("out/cache"));
  const [key] = store.histories.read("test", "all").keys;
  const found = store.manifests.read(key!);
  assert(found.state === "found");
  const { parts } = found.manifest;
  assertEquals(Object.keys(parts), [
    "code",
    "params",
    "sources",
    "inputs",
    "runtimes",
  ]);
  assertEquals(parts.inputs.from!.map((part) => Object.keys(part)), [[
    "content",
    "stage",
    "matrix",
  ]]);
  const bundle = (await store.blobs.text(parts.code))!;
  const modules = new Set(sectionsOf(bundle).map(({ module }) => module));
  assertEquals([...modules], [
    "scheduler:child.ts",
    "zod@4.6.7",
    "tasks/all.ts",
    "entry:tasks/all.ts",
  ]);
  assert(!(JSON.stringify(parts) + bundle).includes(project.folder));
});

Deno.test("run() makes a runtime ready before each stage", async () => {
  using project = new TestProject();
  const library = project.path("library/file.so");
  project.task(
    "compute",
    `const text = Deno.readTextFileSync(${JSON.stringify(library)});
     Deno.writeTextFileSync(${JSON.stringify(library)}, "fault");
     return text;`,
    {
      rest: `needs: ["engine"], permissions: { write: () => [${
        JSON.stringify(project.path("library"))
      }] },`,
    },
  );
  await project.run({
    a: { task: "compute", params: { n: 1 } },
    b: { task: "compute", params: { n: 2 } },
  }, {
    ...engine("one", {
      prepare: () => Promise.resolve(project.write("library/file.so", "whole")),
    }),
    limits: { jobs: 1, cpus: 1, memory: 1e9, gpus: [] },
  });
  assertEquals(project.read("out/test/a/out.txt"), "whole");
  assertEquals(project.read("out/test/b/out.txt"), "whole");
});

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
} from "@std/assert";
import { pathToFileURL } from "node:url";
import { PipelineError } from "../../lib/pipeline/faults.ts";
import { faultsOf, load, withTasks } from "./fake_tasks.ts";

const FAULTY = `name: test
descrption: a misspelt key
params: { lr: abc, tasks: [mrpc, cola] }
profiles:
  quick: { lrr: 1 }
stages:
  data:
    task: fetch
    matrx: { glue: [cola] }
    matrix: { glue: \${params.tasks} }
    with: { source: \${params.data}, rwos: 3, rows: -1, options: { mode: al } }
  train:
    task: train
    matrix: { glue: \${params.tasks} }
    with: { lr: \${params.lr} }
    inputs: { data: data[gleu], strat: data[glue] }
    resources: { memory: 4XB, cpus: 0.5 }
    retries: many
  first: { task: train, inputs: { data: report } }
  report: { task: repot, with: { n: "\${params.n}" }, inputs: { models: [train[*], dta] } }
  sum: { task: report, inputs: { models: [trian, data[*]] } }
  lonely: { task: report }
`;

Deno.test("expandPipeline() reports every fault of a file at once", () =>
  withTasks(async (tasks) => {
    assertEquals(await faultsOf(tasks, FAULTY), [
      '2:1 Unknown key "descrption" of the pipeline; did you mean "description"?',
      '5:12 Unknown parameter "lrr" in profile "quick"; did you mean "lr"?',
      '9:5 Unknown key "matrx" of stage "data"; did you mean "matrix"?',
      '11:21 "params" has no "data"',
      '11:37 Unknown key "rwos" of task "fetch"; did you mean "rows"?',
      '11:52 Invalid "rows" of task "fetch": too small: expected number to be >0, got "-1"',
      '11:73 Invalid "options.mode" of task "fetch": expected "all" or "frozen", got text "al"; did you mean "all"?',
      '15:17 Invalid "lr" of task "train": expected a number, got text "abc" from "${params.lr}"',
      '16:21 Stage "data" has no dimension "gleu"; did you mean "glue"?',
      '16:33 Task "train" has no input "strat"; did you mean "start"?',
      '17:26 Invalid "resources.memory" of stage "train": expected a size such as "4GB" or "512MiB", got text "4XB"',
      '17:37 Invalid "resources.cpus" of stage "train": expected an integer or text, got "0.5"',
      '18:14 Invalid "retries" of stage "train": expected a number, got text "many"',
      '20:19 Unknown task "repot"; did you mean "report"?',
      '20:37 "params" has no "n"',
      '20:83 Unknown stage "dta"; did you mean "data"?',
      '21:43 Unknown stage "trian"; did you mean "train"?',
      '21:50 Stage "data" produces an artifact of kind "dataset", but this input takes kind "model"',
      '22:3 Stage "lonely" needs input "models" of task "report": artifacts of kind "model"',
    ]);
  }));

Deno.test("expandPipeline() reports faults beside others in the same mapping", () =>
  withTasks(async (tasks) => {
    const text = `name: test
stages:
  data:
    task: fetch
    matrix: { x: ["\${params.x}", "a/b"], y: [{ }], include: [{ x: "c/d" }] }
    with: { source: a }
    resources: { cpus: 0 }
  train:
    task: train
    inputs: { data: 3, start: dta, strat: data }
  only:
    task: fetch
    with: { source: a }
    matrix: { include: [{ text: "a/b" }, { lr: .inf }, { text: fine, more: [1] }] }
`;
    const starts = (await faultsOf(tasks, text)).map((it) =>
      it.split(/: |; | of /)[0]
    );
    assertEquals(starts, [
      '5:19 "params" has no "x"',
      '5:34 Invalid "x.1"',
      '5:46 Invalid "y.0"',
      '5:67 Invalid "include.0.x"',
      '7:24 Invalid "resources.cpus"',
      '10:21 Invalid "inputs.data"',
      '10:31 Unknown stage "dta"',
      '10:36 Task "train" has no input "strat"',
      '14:33 Invalid "include.0.text"',
      '14:48 Invalid "include.1.lr"',
    ]);
  }));

Deno.test("expandPipeline() asks for finite numbers in a matrix, and names what a list in a list refers to once", () =>
  withTasks(async (tasks) => {
    const text = `name: test
stages:
  data:
    task: fetch
    with: { source: a }
    matrix: { x: [.inf], y: [["\${params.nope}", 1]] }
`;
    assertEquals(await faultsOf(tasks, text), [
      '6:19 Invalid "x.0" of the matrix of stage "data": expected text or a finite number or a list, got "Infinity"',
      '6:31 "params" has no "nope"',
    ]);
  }));

Deno.test("expandPipeline() blames a setting for its value, and the file for the key that has the value", () =>
  withTasks(async (tasks) => {
    const text = `name: test
params: { s: a, rows: 3 }
stages:
  data: { task: fetch, with: { source: "\${params.s}", rows: "\${params.rows}", rwos: "\${params.rows}" } }
`;
    const settings = [{ key: "rows", value: 0 }];
    const faults = await faultsOf(tasks, text, { settings });
    assertEquals(faults.map((it) => it.split(/: too|; /)[0]), [
      '-S rows=0: Invalid "rows" of task "fetch"',
      '4:79 Unknown key "rwos" of task "fetch"',
    ]);
  }));

Deno.test("PipelineError shows the line and marks the place", () =>
  withTasks(async (tasks) => {
    const text = "name: test\nstages:\n\tdata: {}\n";
    const yaml = "name: test\nstages:\n  data: { task: ftch }\n";
    const messageOf = async (text: string) => {
      const error = await load(tasks, text).catch((it) => it);
      assertInstanceOf(error, PipelineError);
      return error.message;
    };
    assertEquals(
      await messageOf(yaml),
      [
        'test.yaml:3:17: Unknown task "ftch"; did you mean "fetch"?',
        "   3 |   data: { task: ftch }",
        "     |                 ~~~~",
      ].join("\n"),
    );
    assertMatch(await messageOf(text), /^test\.yaml:3:1: YAML syntax: Tabs/m);
  }));

Deno.test("PipelineError hides control characters of a hostile file", () =>
  withTasks(async (tasks) => {
    const text = `name: "\\e[2J"\n# \x1b[2J\nstages: { "\x1b[31m": 1 }\n`;
    const error = await load(tasks, text).catch((it) => it);
    assertInstanceOf(error, PipelineError);
    assert(!error.message.includes("\x1b"), error.message);
  }));

const head = "name: test\nstages:\n";
const data = "  data: { task: fetch, with: { source: x } }\n";
const cases: readonly (readonly [string, string, readonly string[]])[] = [
  ["a file that is a list", "- a\n", [
    "1:1 Invalid pipeline: expected a mapping, got a list",
  ]],
  ["a file that is text", "hello\n", [
    '1:1 Invalid pipeline: expected a mapping, got text "hello"',
  ]],
  [
    "a cycle",
    `${head}  a: { task: train, inputs: { data: b } }
  b: { task: train, inputs: { data: a } }
  c: { task: train, inputs: { data: c } }`,
    [
      "3:3 Stages depend on one another in a cycle: a -> b -> a",
      '3:37 Stage "b" produces an artifact of kind "model", but this input takes kind "dataset"',
      '4:37 Stage "a" produces an artifact of kind "model", but this input takes kind "dataset"',
      '5:3 Stage "c" needs itself',
      '5:37 Stage "c" produces an artifact of kind "model", but this input takes kind "dataset"',
    ],
  ],
  ["a task that cannot be imported", `${head}  a: { task: broken }`, [
    '3:14 Task module "file://TASKS/broken.ts" cannot be imported: the module is broken',
  ]],
  ["a module that declares no task", `${head}  a: { task: empty }`, [
    '3:14 Task module "file://TASKS/empty.ts" does not declare a task: its default export must be what defineTask() returns',
  ]],
  ["a task outside the folder", `${head}  a: { task: ../x }`, [
    '3:14 Invalid "task" of stage "a": a task consists of at most 100 letters, digits, "_" and "-", and begins with a letter or digit, got text "../x"',
  ]],
  [
    "names that begin with another character than a letter or digit",
    `name: -x
params: { -p: 1 }
stages:
  _data:
    task: fetch
    with: { source: x }
    matrix: { -d: [1], v: [.a] }`,
    [
      `1:7 Invalid "name" of the pipeline: a pipeline's name consists of at most 100 letters, digits, "_" and "-", and begins with a letter or digit, got text "-x"`,
      '2:11 Invalid name "-p" in the pipeline: A name consists of at most 100 letters, digits, "_" and "-", and does not begin with "-"',
      `4:3 Invalid name "_data" in the pipeline: A stage's name consists of at most 100 letters, digits, "_" and "-", and begins with a letter or digit`,
    ],
  ],
  [
    "dimensions and values that begin with another character than a letter or digit",
    `${head}  data:
    task: fetch
    with: { source: x }
    matrix: { -d: [1], v: [.a] }`,
    [
      '6:15 Invalid name "-d" in the matrix of stage "data": A name consists of at most 100 letters, digits, "_" and "-", and does not begin with "-"',
      '6:28 Invalid "v.0" of the matrix of stage "data": text in a matrix becomes part of a folder name, so it consists of at most 64 letters, digits, "_", ".", "+" and "-", and begins with a letter or digit; to use other text, choose a short name and add the text with "include", got text ".a"',
    ],
  ],
  [
    "a parameter of no known kind",
    `${head}${data}  a: { task: train, with: { draw: { kind: unifrm } }, inputs: { data: data } }
  b: { task: train, with: { draw: { of: [1] } }, inputs: { data: data } }
  c: { task: train, with: { draw: { kind: list, of: x } }, inputs: { data: data } }`,
    [
      '4:43 Invalid "draw.kind" of task "train": expected "uniform" or "list", got text "unifrm"; did you mean "uniform"?',
      '5:29 "draw.kind" of task "train" is missing',
      '6:53 Invalid "draw.of" of task "train": expected a list, got text "x"',
    ],
  ],
  [
    "text in place of a list, and a list in place of text, with one fault each",
    `${head}${data}  a: { task: train, with: { ranks: x }, inputs: { data: data } }
  b: { task: fetch, with: { source: [] } }`,
    [
      '4:36 Invalid "ranks" of task "train": expected a list, got text "x"',
      '5:29 Invalid "source" of task "fetch": expected text, got a list',
    ],
  ],
  ["a missing parameter", `${head}  a: { task: fetch }`, [
    '3:3 "source" of task "fetch" is missing',
  ]],
  [
    "a dimension left open, or gathered, where an input takes one artifact",
    `${head}${data}  train: { task: train, matrix: { seed: [1], lr: [2] }, inputs: { data: data } }
  a: { task: train, inputs: { data: data, start: train[seed] } }
  b: { task: train, inputs: { data: data, start: train[*] } }
  c: { task: train, inputs: { data: data, start: train[sed] } }`,
    [
      '5:50 "train[seed]" names no value of "lr", but this input takes one artifact; write "train"',
      '6:50 "train[*]" names no value of "seed", "lr", but this input takes one artifact; write "train"',
      '7:50 Stage "train" has no dimension "sed"; did you mean "seed"?',
    ],
  ],
  [
    "stages that have no values in common",
    `${head}  data: { task: fetch, with: { source: x }, matrix: { glue: [a] } }
  b: { task: train, matrix: { glue: [c] }, inputs: { data: data } }
  d: { task: train, inputs: { data: data } }
  e: { task: train, matrix: { glue: [e] }, inputs: { data: one } }
  one: { task: fetch, with: { source: x } }
  f: { task: report, matrix: { glue: [a, e] }, inputs: { models: [d, e] } }`,
    [
      '4:54 No stage "data" matches "b@c"',
      '8:58 No stage "e" matches "f@a"',
      '8:58 No stage "d" matches "f@e"',
    ],
  ],
  [
    "what 'defaults' gives, at its place there",
    `name: test
params: { tasks: [a], lr: x }
defaults:
  with:
    train: { lr: "\${params.lr}", sed: 1, note: "\${matrix.glu}" }
    tran: { lr: 1 }
  inputs: { data: dta, modls: a }
  resources: { cpus: "\${params.cpu}" }
  retries: many
stages:
  data: { task: fetch, with: { source: x }, retries: 1 }
  a: { task: train }
  b: { task: train, with: { lr: y }, inputs: { data: data } }`,
    [
      '5:18 Invalid "lr" of task "train": expected a number, got text "x"',
      '5:34 Unknown key "sed" of task "train"; did you mean "seed"?',
      '5:48 "matrix" has no "glu"',
      '6:5 No stage runs the task "tran"; did you mean "train"?',
      '7:19 Unknown stage "dta"; did you mean "data"?',
      '7:24 No stage has the input "modls"',
      '8:22 "params" has no "cpu"',
      '9:12 Invalid "retries" of "defaults": expected a number, got text "many"',
      '13:33 Invalid "lr" of task "train": expected a number, got text "y"',
    ],
  ],
  [
    "defaults that are no mapping",
    `name: test
defaults: [a]
stages:
  a: { task: train, with: { lr: x, note: "\${matrix.glue}" } }`,
    [
      '2:1 Invalid "defaults": expected a mapping, got a list',
    ],
  ],
  [
    "a faulty input without a word about the dimensions that it would have given",
    `${head}${data}  a: { task: train, with: { lr: x, note: "\${matrix.glue}" }, inputs: { data: dta } }
  b: { task: train, with: { note: "\${matrix.glue}" }, inputs: { data: data, start: a } }
  c: { task: report, inputs: { models: "b[glue]" } }`,
    [
      '4:33 Invalid "lr" of task "train": expected a number, got text "x"',
      '4:78 Unknown stage "dta"; did you mean "data"?',
    ],
  ],
  [
    "two artifacts for one",
    `${head}${data}  a: { task: train, inputs: { data: [data, data] } }`,
    [
      '4:31 Input "data" of task "train" takes one artifact, got 2',
    ],
  ],
  [
    "a wrong matrix",
    `${head}  data:
    task: fetch
    with: { source: x }
    matrix:
      none: []
      twice: [1, 1]
      path: [a/b]
      list: [{}]
      exclude: [{ tiwce: 1 }, {}]`,
    [
      '7:7 Dimension "none" has no values',
      '8:18 Dimension "twice" contains "1" twice',
      `9:14 Invalid "path.0" of the matrix of stage "data": text in a matrix becomes part of a folder name, so it consists of at most 64 letters, digits, "_", ".", "+" and "-", and begins with a letter or digit; to use other text, choose a short name and add the text with "include", got text "a/b"`,
      '10:14 Invalid "list.0" of the matrix of stage "data": expected text or a number or a list, got a mapping',
      '11:19 "exclude" names "tiwce", which is not a dimension of the stage; did you mean "twice"?',
      '11:31 Invalid "exclude.1" of the matrix of stage "data": expected a mapping with at least one key, got a mapping',
    ],
  ],
  [
    "stages of the same id",
    `${head}  data:
    task: fetch
    with: { source: x }
    matrix: { a: [x], include: [{ a: y, b: 1 }, { a: y, b: 2 }, { b: 3 }] }`,
    [
      '3:3 Two stages have the id "data@y"',
    ],
  ],
  [
    "a file to show that is none",
    `name: test
show: [data/abcd, dta/x, data@b/x, data]
stages:
${data}`,
    [
      '2:19 Unknown stage "dta"; did you mean "data"?',
      '2:26 Unknown stage "data@b"; did you mean "data"?',
      '2:36 Invalid "show.3" of the pipeline: expected STAGE/FILE, such as "report/report.md", got text "data"',
    ],
  ],
  [
    "a reference inside a parameter",
    `name: test
params: { a: 1, b: { c: "x\${params.a}" } }
stages:
${data}`,
    [
      "2:25 A parameter cannot contain a reference; refer to both parameters where they are used",
    ],
  ],
  ["YAML that is none", `name: [test\nstages: {`, [
    "2:1 YAML syntax: Flow sequence in block collection must be sufficiently indented and end with a ]",
    "2:10 YAML syntax: Flow map in block collection must be sufficiently indented and end with a }",
  ]],
  [
    "keys and values that are no plain data",
    `name: test
name: again
? [a]
: 1
other: 2
params: { d: *none }
stages: {}`,
    [
      "2:1 YAML syntax: Map keys must be unique",
    ],
  ],
  [
    "an alias without an anchor, which one reader of YAML overlooks",
    `${head}  data: { task: fetch, with: { source: *none } }`,
    ['3:45 YAML syntax: Cannot read alias: unidentified alias "none"'],
  ],
];

for (const [what, text, expected] of cases) {
  Deno.test(`expandPipeline() refuses ${what}`, () =>
    withTasks(async (tasks) => {
      const faults = await faultsOf(tasks, text);
      const { pathname } = pathToFileURL(tasks);
      assertEquals(
        faults.map((it) => it.replace(pathname, "TASKS")),
        expected,
      );
    }));
}

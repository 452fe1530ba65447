import { assert, assertEquals, assertMatch } from "@std/assert";
import { SmallDisk } from "../../files/small_disk.ts";
import { CliProject } from "../project.ts";

const TRAIN = `
import * as z from "zod";
export default {
  description: "Writes an adapter",
  params: z.strictObject({ text: z.string() }),
  inputs: { model: { kind: "text" } },
  output: { kind: "adapter", files: ["adapter.txt"] },
  async run({ params, output }) {
    Deno.writeTextFileSync(output + "/adapter.txt", params.text);
  },
};
`;

const EXPORT = `
import * as z from "zod";
export default {
  description: "Copies an adapter",
  params: z.strictObject({ rank: z.number().optional(), epoch: z.string().optional() }),
  inputs: { adapter: { kind: "adapter" }, report: { kind: "report", optional: true } },
  output: { kind: "peft", files: ["exported.json"] },
  async run({ params, inputs, output }) {
    const path = inputs.adapter[0].path + "/adapter.txt";
    const text = Deno.readTextFileSync(path);
    Deno.writeTextFileSync(output + "/exported.json", JSON.stringify({
      ...params, text, inputs: Object.keys(inputs),
    }));
    if (params.rank === 9) throw new TypeError("Rank 9 of " + path + " is too large");
  },
};
`;

const EXPORT_ONNX = `
import * as z from "zod";
export default {
  description: "Writes what it is given",
  params: z.strictObject({ merged: z.boolean().optional(), dtype: z.string().optional() }),
  inputs: { model: { kind: "text" }, adapter: { kind: "adapter" } },
  output: { kind: "onnx", files: ["exported.json"] },
  async run({ params, inputs, output }) {
    const names = Object.keys(inputs);
    Deno.writeTextFileSync(output + "/exported.json", JSON.stringify({ ...params, inputs: names }));
  },
};
`;

const PIPELINE = `name: test
params: { word: one }
stages:
  model: { task: make, with: { text: model } }
  train:
    task: train
    matrix: { rank: [1, 2] }
    with: { text: "\${params.word}" }
    inputs: { model: model }
`;

Deno.test("export writes the adapter of the given parameters at a rank, or nothing", async () => {
  using project = new CliProject(PIPELINE);
  project.write("tasks/train.ts", TRAIN);
  project.write("tasks/export-adapter.ts", EXPORT);
  const to = ["--to", project.path("exported")];
  const one = ["train@rank=1", "--rank", "4", "-S", "word=one", ...to];

  const early = await project.call("export", ...one);
  assertEquals(early.code, 1);
  assertMatch(
    early.stderr,
    /^Stage "train@rank=1" has no [^]*:\n {2}run: deno task pipeline .*train@rank=1/,
  );

  for (const word of ["one", "two"]) {
    const { code, stderr } = await project.call(
      "pipeline",
      "-S",
      `word=${word}`,
    );
    assertEquals(code, 0, stderr);
  }
  // What is visible is the result of "two".
  const { code, stderr, lines } = await project.call("export", ...one);
  assertEquals(code, 0, stderr);
  assertMatch(
    lines.at(-1)!,
    /^Exported train@rank=1 at rank 4, to .*exported$/,
  );
  assertEquals(JSON.parse(project.read("exported/exported.json")), {
    rank: 4,
    text: "one",
    inputs: ["adapter"],
  });

  const again = await project.call("export", ...one);
  assertEquals(again.code, 2);
  assertMatch(again.stderr, /exported" already exists: remove it, or choose/);

  const other = ["--to", project.path("other")];
  const failed = await project.call(
    "export",
    ...["train@rank=2", "--rank", "9", "-S", "word=two", ...other],
  );
  assertEquals(failed.code, 1);
  // In words of folders that the user knows.
  assertMatch(
    failed.stderr,
    /Rank 9 of .*out\/test\/train@rank=2\/adapter\.txt/,
  );
  assert(!project.exists("other") && !project.exists("other.incomplete"));

  project.write("file", "");
  const below = await project.call(
    "export",
    ...["train@rank=1", "--rank", "4", "--to", project.path("file/x")],
  );
  assertEquals(below.code, 2);
  assertMatch(
    below.stderr,
    /^".*\/file" is a file: choose another folder with --to/m,
  );

  Deno.mkdirSync(project.path("other.incomplete"));
  project.write("other.incomplete/notes.txt", "mine");
  const beside = await project.call(
    "export",
    ...["train@rank=2", "--rank", "9", "-S", "word=two", ...other],
  );
  assertEquals(beside.code, 2);
  assertMatch(
    beside.stderr,
    /other\.incomplete" already exists: remove it, or choose/,
  );
  assertEquals(project.read("other.incomplete/notes.txt"), "mine");

  const several = await project.call("export", "train", ...other);
  assertEquals(several.code, 2);
  assertMatch(
    several.stderr,
    /more than one adapter: "train@rank=1", "train@rank=2"/,
  );
  const none = await project.call("export", "model", ...other);
  assertMatch(
    none.stderr,
    /"model" selects no stage that makes an adapter; name one that does, such as "[^"]+"/,
  );
});

Deno.test("export writes a folder with a comma in its name, as ids of stages have it", async () => {
  using project = new CliProject(PIPELINE);
  project.write("tasks/train.ts", TRAIN);
  project.write("tasks/export-adapter.ts", EXPORT);
  assertEquals((await project.call("pipeline")).code, 0);
  const to = project.path("train@task=a,rank=1");
  const { code, stderr } = await project.call(
    "export",
    ...["train@rank=1", "--to", to],
  );
  assertEquals(code, 0, stderr);
  assert(project.exists("train@task=a,rank=1/exported.json"));
});

Deno.test({
  name: "export names the full disk, and leaves nothing",
  ignore: !SmallDisk.isPossible,
  async fn() {
    using project = new CliProject(PIPELINE);
    using disk = new SmallDisk(64_000);
    project.write("tasks/train.ts", TRAIN);
    project.write(
      "tasks/export-adapter.ts",
      EXPORT.replace("...params, text,", '...params, text: "x".repeat(1e6),'),
    );
    assertEquals((await project.call("pipeline")).code, 0);
    // Its own files, or those of the task.
    for (const left of [60_000, 0]) {
      Deno.writeFileSync(`${disk.path}/x`, new Uint8Array(60_000 - left));
      const { code, stderr } = await project.call(
        "export",
        ...["train@rank=1", "--to", `${disk.path}/exported`],
      );
      assertEquals(code, 1);
      assertMatch(
        stderr,
        /^No space left on the disk of "\/.*disk-.*"; free some space, or choose another folder with --to$/m,
      );
      assertEquals([...Deno.readDirSync(disk.path)].length, 1);
    }
  },
});

Deno.test("export --to onnx runs the task for ONNX with the model of the stage, into a folder that is named or not", async () => {
  using project = new CliProject(PIPELINE);
  project.write("tasks/train.ts", TRAIN);
  project.write("tasks/export-onnx.ts", EXPORT_ONNX);
  assertEquals((await project.call("pipeline")).code, 0);
  const to = `onnx:${project.path("served")}`;
  const { code, stderr, lines } = await project.call(
    "export",
    ...["train@rank=1", "--to", to, "--merged", "--dtype", "q8"],
  );
  assertEquals(code, 0, stderr);
  assertMatch(lines.at(-1)!, /^Exported train@rank=1, to .*served$/);
  assertEquals(JSON.parse(project.read("served/exported.json")), {
    merged: true,
    dtype: "q8",
    inputs: ["adapter", "model"],
  });
  for (const option of [["--merged"], ["--dtype", "q8"]]) {
    const { code, stderr } = await project.call(
      "export",
      ...["train@rank=1", "--to", project.path("onnx-models"), ...option],
    );
    assertEquals(code, 2);
    assertMatch(stderr, /requires "--to onnx"/);
  }
});

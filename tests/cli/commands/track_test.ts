import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { shellWord } from "../../../lib/files/shell_word.ts";
import { listFiles } from "../../../lib/store/blobs.ts";
import { filledStore } from "../../track/made_results.ts";
import { PYTHON } from "../../track/tracking_server.ts";
import { callHere, CliProject } from "../project.ts";

const PIPELINE = `name: made
stages:
  start: { task: make, with: { text: one } }
`;

Deno.test("track writes event files for the results of the cache, once", async () => {
  using project = new CliProject(PIPELINE);
  await filledStore(project.path("out/cache"));
  const first = await project.call("track", "--to", "tensorboard");
  assertEquals(first.code, 0, first.stderr);
  const folder = project.path("out/made/_tensorboard");
  assertEquals(first.lines, [
    `3 runs added to ${folder}`,
    `Show it with "tensorboard --logdir ${shellWord(folder)}"`,
  ]);
  const files = listFiles(folder, "refuse");
  assertEquals(files.length, 3);
  const again = await project.call("track", "--to", "tensorboard", "--json");
  assertEquals(again.json(), [{
    type: "tracked",
    to: "tensorboard",
    target: folder,
    added: 0,
    replaced: 0,
    present: 3,
  }]);
  assertEquals(listFiles(folder, "refuse"), files);
  const [file] = files;
  await Deno.truncate(join(folder, file!), 100);
  const replaced = await project.call("track", "--to", "tensorboard");
  assertEquals(
    replaced.lines[0],
    `0 runs added to ${folder}; 1 replaced; 2 already there`,
  );
  assertEquals(listFiles(folder, "refuse"), files);
});

Deno.test("track quotes a folder in the command that shows it", async () => {
  using project = new CliProject(PIPELINE);
  await filledStore(project.path("out/cache"));
  const folder = project.path("my runs");
  const to = ["--to", "tensorboard", "--dir", folder];
  const { lines } = await project.call("track", ...to);
  assertEquals(lines, [
    `3 runs added to ${folder}`,
    `Show it with "tensorboard --logdir '${folder}'"`,
  ]);
});

for (
  const [fault, args, code, message] of [
    ["no tracker", [], 2, /^Missing option "--to": give a tracker/],
    [
      "an unknown tracker",
      ["--to", "mlflo"],
      2,
      /^Invalid value "mlflo" for option "--to": .*did you mean "mlflow"/,
    ],
    [
      "an option of another tracker",
      ["--to", "mlflow", "--dir", "x"],
      2,
      /^Option "--dir" does not apply to "--to mlflow"/,
    ],
    [
      "a folder that is a file",
      ["--to", "tensorboard", "--dir", Deno.execPath()],
      2,
      /^".*" is a file: choose another folder with --dir/,
    ],
    [
      "an address that is none",
      ["--to", "mlflow", "--url", "sqlite:///x.db"],
      2,
      /^Invalid value "sqlite:\/\/\/x.db" for option "--url": expected an address such as "http:\/\/127.0.0.1:5000"/,
    ],
    [
      "a server that does not run",
      ["--to", "mlflow", "--url", "http://127.0.0.1:9"],
      1,
      /^Cannot reach the MLflow server at http:\/\/127.0.0.1:9: .*\nStart one with "mlflow server"/,
    ],
  ] as const
) {
  Deno.test(`track refuses ${fault}`, async () => {
    using project = new CliProject(PIPELINE);
    await filledStore(project.path("out/cache"));
    const called = await project.call("track", ...args);
    assertEquals(called.code, code);
    assertMatch(called.stderr, message);
  });
}

Deno.test("track says that a pipeline has not run yet", async () => {
  using project = new CliProject(PIPELINE);
  const { code, stderr } = await project.call("track", "--to", "tensorboard");
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^Pipeline "made" has no trainings or evaluations yet:\n {2}run: deno task pipeline .+test\.yaml'? --tasks .+ --out .+$/m,
  );
});

const TINY = `name: tiny
stages:
  model: { task: fetch-model, with: { source: ./fixtures/tiny-roberta } }
  data:
    task: fetch-glue
    with: { task: rte, source: ./fixtures/tiny-glue, limit: { train: 256, validation: 32 } }
  tokens: { task: tokenize, inputs: { data: data, model: model } }
  train:
    task: train-lora
    with: { rank: 2, epochs: 2, batchSize: 8, selectOn: validation }
    inputs: { model: model, tokens: tokens }
  reduced: { task: reduce-adapter, with: { by: svd }, inputs: { adapter: train } }
  scores:
    task: evaluate-ranks
    inputs: { model: model, tokens: tokens, adapter: train }
`;

Deno.test({
  name: "track hands a real training and its evaluation to TensorBoard",
  ignore: PYTHON === undefined,
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      const file = join(folder, "tiny.yaml");
      await Deno.writeTextFile(file, TINY);
      const out = join(folder, "out");
      const ran = await callHere("pipeline", file, "--out", out);
      assertEquals(ran.code, 0, ran.stdout + ran.stderr);
      const events = join(folder, "events");
      const tracked = await callHere(
        ...["track", file, "--to", "tensorboard", "--dir", events],
        ...["--out", out],
      );
      assertEquals(tracked.code, 0, tracked.stderr);
      assertMatch(tracked.stdout, /^2 runs added to /);
      const { code, stdout } = await new Deno.Command(PYTHON!, {
        args: [
          join(import.meta.dirname!, "../../track/read_event_files.py"),
          events,
        ],
      }).output();
      assertEquals(code, 0);
      const read = JSON.parse(new TextDecoder().decode(stdout));
      const runOf = (stage: string) =>
        Object.entries(read).find(([name]) => name.startsWith(`${stage}.`))![1];
      const json = async (path: string) =>
        JSON.parse(await Deno.readTextFile(join(out, "tiny", path)));

      // deno-lint-ignore no-explicit-any
      const train = runOf("train") as any;
      const training = await json("train/training.json");
      const values = (name: string) =>
        train.scalars[name].map(([, step, value]: number[]) => [step, value]);
      assertEquals(
        values("train/loss"),
        training.losses.map((
          { step, loss }: { step: number; loss: number },
        ) => [step, Math.fround(loss)]),
      );
      assert(training.losses.length >= 6);
      const times = train.scalars["train/loss"].map(([time]: number[]) => time);
      assertEquals(times, times.toSorted((a: number, b: number) => a - b));
      assert(new Set(times).size > 1);
      assertEquals(
        values("epochs/accuracy/rank_2"),
        training.selection.epochs.map((
          { step, ranks }: {
            step: number;
            ranks: { metrics: { accuracy: number } }[];
          },
        ) => [step, Math.fround(ranks[0]!.metrics.accuracy)]),
      );
      assertEquals(train.settings.learningRate, training.learningRate);
      assert(train.scalars.training_seconds[0][2] > 0);

      // The learning rate is that of the log, which has three digits.
      const { stdout: log } = await callHere(
        "logs",
        file,
        "train",
        "--out",
        out,
      );
      const logged = [...log.matchAll(/step (\d+)\/\d+ .* lr (\S+)/g)]
        .map(([, step, rate]) => [Number(step), Number(rate)]);
      assertEquals(
        values("train/learning_rate").map((
          [step, rate]: [number, number],
        ) => [step, Number(rate.toExponential(2))]),
        logged,
      );

      // deno-lint-ignore no-explicit-any
      const scores = runOf("scores") as any;
      const { ranks } = await json("scores/scores.json");
      assertEquals(
        scores.scalars["ranks/accuracy"].map(([, step, value]: number[]) => [
          step,
          value,
        ]),
        ranks.map((
          { rank, metrics }: { rank: number; metrics: { accuracy: number } },
        ) => [rank, Math.fround(metrics.accuracy)]),
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

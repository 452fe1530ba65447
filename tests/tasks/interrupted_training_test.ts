import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { linesOf } from "../../lib/scheduler/channel.ts";

const ROOT = fileURLToPath(import.meta.resolve("../../"));

const PIPELINE = `name: interrupted
stages:
  model: { task: fetch-model, with: { source: ./fixtures/tiny-roberta } }
  data:
    task: fetch-glue
    with: { task: sst2, source: ./fixtures/tiny-glue, splits: [train, validation] }
  tokens: { task: tokenize, inputs: { data: data, model: model } }
  train:
    task: train-dylora
    with: { rank: 8, epochs: 1, batchSize: 32, learningRate: 5e-3 }
    inputs: { model: model, tokens: tokens }
    resources: { cpus: 2 }
`;

/** Calls a command on the pipeline, interrupting it once its training has taken a step. */
async function call(
  folder: string,
  args: readonly string[],
  interrupt = false,
) {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "lib/cli/main.ts", ...args, "--json"]
      .concat("--out", `${folder}/out`),
    cwd: ROOT,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const events = [];
  let interrupted = false;
  for await (const line of linesOf(process.stdout)) {
    const event = JSON.parse(line);
    events.push(event);
    if (!interrupt || interrupted || event.stage !== "train") continue;
    if (event.type === "progress" && event.done > 0) {
      interrupted = true;
      process.kill("SIGINT");
    }
  }
  return { code: (await process.status).code, events };
}

Deno.test("training that was interrupted ends with the bytes of one that was not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/interrupted.yaml`;
    await Deno.writeTextFile(file, PIPELINE);
    const stopped = await call(folder, ["pipeline", file], true);
    assert.equal(stopped.code, 130, JSON.stringify(stopped.events));
    const resumed = await call(folder, ["pipeline", file]);
    assert.equal(resumed.code, 0, JSON.stringify(resumed.events));
    const steps = resumed.events.flatMap(({ type, stage, done }) =>
      type === "progress" && stage === "train" ? [done] : []
    );
    assert.ok(steps[0] > 1, `goes on from step ${steps[0]}`);
    // Runs it again from the start, and compares.
    const again = await call(folder, ["verify", file, "train"]);
    assert.equal(again.code, 0, JSON.stringify(again.events.at(-1)));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { linesOf } from "../../lib/scheduler/process.ts";
import { withFolder } from "./run_task.ts";

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

/** Calls a command on the pipeline, sending it a signal once its training has taken a step. */
async function call(
  folder: string,
  args: readonly string[],
  signal?: Deno.Signal,
) {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "lib/cli/main.ts", ...args, "--json"]
      .concat("--out", `${folder}/out`),
    cwd: ROOT,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const events = [];
  let sent = false;
  for await (const line of linesOf(process.stdout)) {
    const event = JSON.parse(line);
    events.push(event);
    if (signal === undefined || sent || event.stage !== "train") continue;
    if (event.type === "progress" && event.done > 0) {
      sent = true;
      process.kill(signal);
    }
  }
  return { code: (await process.status).code, events };
}

/** The first step that a call reported of the training. */
function firstStep({ events }: Awaited<ReturnType<typeof call>>): number {
  return events.find(({ type, stage }) =>
    type === "progress" && stage === "train"
  ).done;
}

/** The file of the one checkpoint that a killed training has left. */
function checkpointIn(folder: string): string {
  const [key] = Deno.readDirSync(`${folder}/out/cache/checkpoints`);
  const attempts = `${folder}/out/cache/checkpoints/${key!.name}`;
  const [attempt] = [...Deno.readDirSync(attempts)]
    .filter(({ isDirectory }) => isDirectory);
  return `${attempts}/${attempt!.name}/training.safetensors`;
}

Deno.test("training that was interrupted, and then killed with -9, ends with the bytes of one that was not", async () => {
  await withFolder(async (folder) => {
    const file = `${folder}/interrupted.yaml`;
    await Deno.writeTextFile(file, PIPELINE);
    const stopped = await call(folder, ["pipeline", file], "SIGINT");
    assertEquals(stopped.code, 130, JSON.stringify(stopped.events));
    const killed = await call(folder, ["pipeline", file], "SIGKILL");
    assertEquals(killed.code, 137, JSON.stringify(killed.events));
    assert(firstStep(killed) > 1, `goes on from ${firstStep(killed)}`);
    const resumed = await call(folder, ["pipeline", file]);
    assertEquals(resumed.code, 0, JSON.stringify(resumed.events));
    assert(firstStep(resumed) > 1, `goes on from ${firstStep(resumed)}`);
    // Runs it again from the start, and compares.
    const again = await call(folder, ["verify", file, "train"]);
    assertEquals(again.code, 0, JSON.stringify(again.events.at(-1)));
  });
});

Deno.test("training whose checkpoint is damaged starts anew, and says so", async () => {
  await withFolder(async (folder) => {
    const file = `${folder}/interrupted.yaml`;
    await Deno.writeTextFile(file, PIPELINE);
    const stopped = await call(folder, ["pipeline", file], "SIGINT");
    assertEquals(stopped.code, 130, JSON.stringify(stopped.events));
    const path = checkpointIn(folder);
    const bytes = await Deno.readFile(path);
    bytes[bytes.length >> 1]! ^= 1;
    await Deno.writeFile(path, bytes);
    const { code, events } = await call(folder, ["pipeline", file]);
    assertEquals(code, 0, JSON.stringify(events));
    assert(
      events.some(({ type, line }) =>
        type === "log" && /^Starts anew, since the checkpoint is dam/.test(line)
      ),
    );
  });
});

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
} from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readAdapter } from "../../lib/peft/adapter.ts";
import { readScores } from "../../lib/artifacts/scores.ts";
import { readTokensInfo } from "../../lib/artifacts/tokens.ts";
import { PROGRAM } from "../../lib/cli/arguments/options.ts";
import { outWithCode } from "../cli/project.ts";
import { assertClose } from "../engine/reference.ts";
import { linesOf } from "../lines.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { readTraining } from "../tasks/reference_adapter.ts";
import { withFolder } from "../tasks/run_task.ts";

Deno.test("train-dylora saves the epoch with the best mean over its ranks, and evaluate-ranks scores it as recorded", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const common = { rank: 4, epochs: 3, learningRate: 1e-2, batchSize: 8 };
    const params = { ...common, sampler: { kind: "list", ranks: [2, 3, 4] } };
    const selected = await run("train-dylora", {
      ...params,
      selectOn: "validation",
    }, given);
    const { selection, ...training } = await readTraining(selected);
    const tokens = await readTokensInfo(given.tokens);
    assertEquals(training.maxLength, tokens.maxLength);
    const { epochs, best, metric, split, examples } = selection!;
    assertEquals([metric, split, examples], ["accuracy", "validation", 32]);
    assertEquals(epochs.map(({ epoch, step }) => [epoch, step]), [
      [1, 8],
      [2, 16],
      [3, 24],
    ]);
    for (const { score, ranks } of epochs) {
      assertEquals(ranks.map(({ rank }) => rank), [2, 3, 4]);
      const mean = ranks.reduce((sum, it) => sum + it.metrics.accuracy!, 0) / 3;
      assertAlmostEquals(score, mean, 1e-12);
    }
    const highest = Math.max(...epochs.map(({ score }) => score));
    assertEquals(best, epochs.find(({ score }) => score === highest)!.epoch);

    for (const [epoch, number] of [["last", 3], ["best", best]] as const) {
      const scored = await run("evaluate-ranks", { epoch }, {
        ...given,
        adapter: selected,
      });
      const info = await readScores(scored);
      assertEquals(info.epoch, epoch);
      assertEquals(info.ranks, epochs[number - 1]!.ranks);
      // One evaluation at all ranks for each epoch.
      assertEquals(selection!.flops, epochs.length * info.flops);
    }

    const plain = await run("train-dylora", params, given);
    assertEquals(await readTraining(plain), {
      ...training,
      selection: null,
    });
    const weights = (folder: string) =>
      Deno.readFile(join(folder, "adapter_model.safetensors"));
    assertEquals(await weights(plain), await weights(selected));

    const balanced = { ...params, classWeights: "balanced" };
    const { text } = await attempt("train-dylora", balanced, given);
    assertMatch(text, /^Class weights: "\w+" \d\.\d{3}, "\w+" \d\.\d{3}$/m);
    const weighted = await run("train-dylora", balanced, given);
    assertEquals((await readTraining(weighted)).classWeights, "balanced");
    assertNotEquals(await weights(weighted), await weights(plain));

    const missing = await attempt("train-lora", {
      ...common,
      selectOn: "held_out",
    }, given);
    assertEquals(missing.code, 1);
    assertMatch(missing.text, /have no split .*held_out/);
    const refused = await attempt("predict", { epoch: "best" }, {
      ...given,
      adapter: plain,
    });
    assertEquals(refused.code, 1);
    assertMatch(
      refused.text,
      /has no best epoch: train it with .*selectOn: validation/,
    );
  }));

Deno.test("train-dylora continues from the adapters of another task", () =>
  withEngineStages(async ({ run, attempt, sandboxed, given }) => {
    const params = { rank: 2, epochs: 1, batchSize: 16 };
    const first = await run("train-lora", {
      ...params,
      learningRate: 1e-2,
    }, given);
    const inputs = { ...given, start: first };
    // So slow that nothing moves by more than 1e-6.
    const still = { ...params, learningRate: 1e-8, seed: 1 };
    const second = await run("train-dylora", still, inputs);
    const [from, to] = [await readAdapter(first), await readAdapter(second)];
    assertEquals((await readTraining(second)).start, {
      method: "lora",
      task: "rte",
      seed: 0,
    });
    for (const [name, { values }] of Object.entries(to.tensors)) {
      const before = from.tensors[name]!.values;
      if (name.includes("lora_")) assertClose(values, before, 1e-6, name);
      else if (name.endsWith("weight")) assertNotEquals(values, before);
    }
    // The rank is that of the adapter if none is given.
    const { rank: _, ...unranked } = still;
    const third = await run(
      "train-dylora",
      { ...unranked, startHead: "kept" },
      inputs,
    );
    assertEquals((await readTraining(third)).rank, params.rank);
    for (
      const [name, { values }] of Object.entries(
        (await readAdapter(third)).tensors,
      )
    ) assertClose(values, from.tensors[name]!.values, 1e-6, name);
    const headless = await sandboxed(
      "train-dylora",
      { ...still, startHead: "kept" },
      given,
    );
    assertEquals(headless.code, 1);
    // A fault of the user is shown without a stack.
    assertMatch(headless.text, /"isBug":false/);
    assertMatch(
      headless.text,
      /"startHead: kept\\?" requires an adapter: connect one/,
    );
    const refused = await attempt("train-lora", { rank: 1 }, inputs);
    assertEquals(refused.code, 1);
    assertMatch(refused.text, /has rank 2, but this training has rank 1/);
  }));

const ROOT = fileURLToPath(import.meta.resolve("../.."));

/**
 * Trains for a second also on a fast machine, so that a signal comes before the
 * end.
 */
const PIPELINE = `name: interrupted
stages:
  model: { task: fetch-model, with: { source: ./fixtures/tiny-roberta } }
  data:
    task: fetch-glue
    with: { task: sst2, source: ./fixtures/tiny-glue, splits: [train], limit: { train: 640 } }
  tokens: { task: tokenize, inputs: { data: data, model: model } }
  train:
    task: train-dylora
    with: { rank: 8, epochs: 8, batchSize: 32, learningRate: 5e-3 }
    inputs: { model: model, tokens: tokens }
    resources: { cpus: 2 }
`;

/**
 * Calls a command on the pipeline, sending it a signal once its training has
 * taken some steps.
 */
async function call(
  out: string,
  args: readonly string[],
  signal?: Deno.Signal,
) {
  const process = new Deno.Command(Deno.execPath(), {
    args: [...PROGRAM, ...args, "--json", "--out", out],
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
    if (event.type === "progress" && event.done > 2) {
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

Deno.test("a training that was interrupted and killed ends with the same bytes as an uninterrupted one", async () => {
  await withFolder(async (folder) => {
    const file = `${folder}/interrupted.yaml`;
    await Deno.writeTextFile(file, PIPELINE);
    const out = await outWithCode();
    const stopped = await call(out, ["pipeline", file], "SIGINT");
    assertEquals(stopped.code, 130, JSON.stringify(stopped.events));
    const killed = await call(out, ["pipeline", file], "SIGKILL");
    assertEquals(killed.code, 137, JSON.stringify(killed.events));
    assert(firstStep(killed) > 1, `goes on from ${firstStep(killed)}`);
    const resumed = await call(out, ["pipeline", file]);
    assertEquals(resumed.code, 0, JSON.stringify(resumed.events));
    assert(firstStep(resumed) > 1, `goes on from ${firstStep(resumed)}`);
    // Runs it again from the start, and compares.
    const again = await call(out, ["verify", file, "train"]);
    assertEquals(again.code, 0, JSON.stringify(again.events.at(-1)));
  });
});

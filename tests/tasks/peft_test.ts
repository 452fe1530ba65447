import { assert, assertEquals } from "@std/assert";
import { basename, join } from "node:path";
import {
  type AdapterTensors,
  readAdapter,
  writeAdapter,
} from "../../lib/artifacts/adapter.ts";
import { moduleOf, modulesOf } from "../../lib/engine/adapters/peft.ts";
import { type ModuleRanks, writeRanks } from "../../lib/artifacts/ranks.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import importAdapter from "../../tasks/import-adapter.ts";
import merge from "../../tasks/merge.ts";
import { type EngineStages, withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";
import { randomAdapter } from "./random_adapter.ts";
import { REFERENCE_TRAINING } from "./reference_adapter.ts";
import { runTask } from "./run_task.ts";
import { assertSameBits } from "../engine/reference.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");
const MINILM = Deno.env.get("DYLORA_MINILM");
const SCRIPT = join(import.meta.dirname!, "peft_logits.py");
const fixtures = join(import.meta.dirname!, "../../fixtures");

const TRAINING = { ...REFERENCE_TRAINING, rank: 8, alpha: 16 };
/** Of every logit, in float32. */
const TOLERANCE = 1e-4;

for (
  const model of [
    join(fixtures, "tiny-roberta"),
    join(fixtures, "tiny-bert"),
    MINILM,
  ]
) {
  const name = model === MINILM ? "MiniLM" : basename(model!);
  Deno.test({
    name:
      `PEFT and transformers compute the logits of evaluate-ranks from exported and merged adapters, ${name}`,
    ignore: PYTHON === undefined || model === undefined,
    fn: () =>
      withEngineStages((stages) => compareExports(stages, model!), model),
  });
  for (const rslora of [false, true]) {
    Deno.test({
      name: `evaluate-ranks computes from an adapter of PEFT${
        rslora ? " with rank-stabilized scale" : ""
      } what PEFT computes, ${name}`,
      ignore: PYTHON === undefined || model === undefined,
      fn: () =>
        withEngineStages(
          (stages) => compareImport(stages, model!, rslora),
          model,
        ),
    });
  }
}

async function compareExports(stages: EngineStages, model: string) {
  const { folder, given } = stages;
  const tensors = randomAdapter(model, TRAINING.rank);
  const adapter = await saved(folder, tensors);
  const modules = modulesOf(Object.keys(tensors));
  const byModule = new Map(modules.map((name, i) => [name, 1 + i * 3 % 8]));
  const ranks = await Deno.makeTempDir({ dir: folder });
  const { task, method } = TRAINING;
  await writeRanks(ranks, { task, method, modules: byModule, choice: null });

  const whole = await logitsByRank(stages, { ...given, adapter });
  const cut = await saved(folder, atOwnRanks(tensors, byModule));
  const { 8: mixed } = Object.fromEntries(
    await logitsByRank(stages, { ...given, adapter: cut }, { ranks: [8] }),
  );
  const expected = [...[1, 3, 8].map((rank) => whole.get(rank)!), mixed!];
  const takings = [
    ...[1, 3, 8].map((rank) => ({ params: { rank }, inputs: {} })),
    { params: {}, inputs: { ranks } },
  ];
  const adapters: string[] = [];
  const models: string[] = [];
  for (const { params, inputs } of takings) {
    const from = { adapter, ...inputs };
    adapters.push((await runTask(exportAdapter, folder, params, from)).output);
    const merged = await runTask(merge, folder, params, { model, ...from });
    models.push(merged.output);
  }
  const theirs = await askPython(stages, model, { adapters, models });
  expected.forEach((logits, i) => {
    const title = `of ${basename(model)}, ${
      i < 3 ? [1, 3, 8][i] : "by module"
    }`;
    assertWithin(theirs.adapters[i]!, logits, `PEFT's logits ${title}`);
    assertWithin(theirs.models[i]!, logits, `transformers' logits ${title}`);
  });
}

async function compareImport(
  stages: EngineStages,
  model: string,
  rslora: boolean,
) {
  const { folder, given } = stages;
  const source = await Deno.makeTempDir({ dir: folder });
  const { written } = await askPython(stages, model, {
    adapters: [],
    models: [],
    write: source,
    rslora,
  });
  const { output: adapter } = await runTask(importAdapter, folder, { source }, {
    model,
    tokens: given.tokens,
  });
  const logits = await logitsByRank(stages, { ...given, adapter });
  assertEquals([...logits.keys()], [4]);
  assertWithin(written!, logits.get(4)!, `logits of ${basename(model)}`);

  const { output } = await runTask(exportAdapter, folder, {}, { adapter });
  const { tensors } = await readAdapter(adapter);
  const again = await runTask(importAdapter, folder, { source: output }, {
    model,
    tokens: given.tokens,
  });
  assertSameBits((await readAdapter(again.output)).tensors, tensors);
}

/** The adapter whose own rank computes what `tensors` compute with a rank for each module. */
function atOwnRanks(
  tensors: AdapterTensors,
  ranks: ModuleRanks,
): AdapterTensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, values }]) => {
      const rank = ranks.get(moduleOf(name) ?? "");
      if (rank === undefined || !name.includes(".lora_B.")) {
        return [name, { shape, values }];
      }
      const scaled = (values as Float32Array).map((value, i) =>
        i % TRAINING.rank < rank ? value * TRAINING.rank / rank : 0
      );
      return [name, { shape, values: scaled }];
    }),
  );
}

async function saved(folder: string, tensors: AdapterTensors): Promise<string> {
  const path = await Deno.makeTempDir({ dir: folder });
  await writeAdapter(path, {
    baseModel: undefined,
    training: TRAINING,
    tensors,
  });
  return path;
}

async function askPython(
  { folder, given }: EngineStages,
  model: string,
  request: Readonly<Record<string, unknown>>,
): Promise<{ adapters: number[][]; models: number[][]; written?: number[] }> {
  const path = join(folder, "request.json");
  const tokens = join(given.tokens, "validation.safetensors");
  await Deno.writeTextFile(
    path,
    JSON.stringify({ model, tokens, labels: 2, ...request }),
  );
  const { code, stdout, stderr } = await new Deno.Command(PYTHON!, {
    args: [SCRIPT, path],
    env: { HF_HUB_OFFLINE: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals(code, 0, text(stderr));
  return JSON.parse(text(stdout).trim().split("\n").at(-1)!);
}

function assertWithin(
  found: readonly number[],
  expected: Float32Array,
  what: string,
): void {
  assertEquals(found.length, expected.length, what);
  const difference = Math.max(
    ...found.map((value, i) => Math.abs(value - expected[i]!)),
  );
  const spread = Math.max(...expected) - Math.min(...expected);
  console.log(
    `${what}: off by ${difference.toExponential(1)} in a range of ${
      spread.toFixed(2)
    }`,
  );
  assert(difference < TOLERANCE, `${what}: off by ${difference}`);
}

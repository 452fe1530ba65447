import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { basename, join } from "node:path";
import { readAdapter, writeAdapter } from "../../lib/peft/adapter.ts";
import type { Training } from "../../lib/artifacts/training.ts";
import type { Architecture } from "../../lib/engine/models/model.ts";
import type { TargetModules } from "../../lib/engine/models/parameters.ts";
import { ARCHITECTURES, parseModel } from "../../lib/engine/models/registry.ts";
import { readOutputs } from "../../lib/artifacts/scores.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import importAdapter from "../../tasks/import-adapter.ts";
import merge from "../../tasks/merge.ts";
import { type EngineStages, withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";
import {
  type PeftLogits,
  PeftProcess,
  type PeftRequest,
} from "./peft_process.ts";
import { randomAdapter } from "./random_adapter.ts";
import { REFERENCE_TRAINING } from "./reference_adapter.ts";
import { runTask } from "./run_task.ts";
import { assertSameBits, tinyEncoders } from "../engine/reference.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");
const MINILM = Deno.env.get("DYLORA_MINILM");
const fixtures = join(import.meta.dirname!, "../../fixtures");

const TRAINING = { ...REFERENCE_TRAINING, rank: 8, alpha: 16 };
/** Of every logit, in float32. */
const TOLERANCE = 1e-4;
/** Of logits of several labels. */
const CLOSE = 1e-5;

/** Models for which rank-stabilized scales are tried as well. */
const OFTEN = ["tiny-roberta", "tiny-bert", "MiniLM"];

let peft: PeftProcess | undefined;

Deno.test.beforeAll(() => {
  if (PYTHON !== undefined) peft = new PeftProcess(PYTHON);
});

Deno.test.afterAll(async () => await peft?.[Symbol.asyncDispose]());

for (
  const model of [
    ...tinyEncoders.map((name) => join(fixtures, `tiny-${name}`)),
    MINILM,
  ]
) {
  const name = model === MINILM ? "MiniLM" : basename(model!);
  const test = (what: string, fn: (stages: EngineStages) => Promise<void>) =>
    Deno.test({
      name: `${what}, ${name}`,
      ignore: PYTHON === undefined || model === undefined,
      fn: () => withEngineStages(fn, model),
    });

  for (const targetModules of [undefined, "all-linear"] as const) {
    test(
      `PEFT and transformers compute the logits of evaluate-ranks from exported and merged adapters, ${
        targetModules ?? "default modules"
      }`,
      (stages) => compareExports(stages, model!, targetModules),
    );
  }
  test(
    "PEFT and transformers compute the logits of evaluate-ranks from an exported and merged adapter of rsLoRA",
    (stages) =>
      compareExports(stages, model!, undefined, {
        scaling: { rslora: "rank" },
      }),
  );
  test(
    "PEFT and transformers compute the logits of evaluate-ranks from an exported and merged DoRA",
    (stages) =>
      compareExports(stages, model!, "all-linear", { adapter: "dora" }),
  );

  test(
    "evaluate-ranks computes what PEFT computes from an adapter that it made with the configuration of an exported one",
    async (stages) => {
      const adapter = await saved(stages.folder, model!, "all-linear");
      const { output } = await runTask(exportAdapter, stages.folder, {}, {
        adapter,
      });
      const { target_modules, modules_to_save } = JSON.parse(
        Deno.readTextFileSync(join(output, "adapter_config.json")),
      );
      await compareImport(stages, model!, { target_modules, modules_to_save });
    },
  );

  // PEFT can adapt neither the head of DistilBERT, which it saves, nor
  // DeBERTa's pooler, which is random.
  if (!["tiny-distilbert", "tiny-deberta"].includes(name)) {
    test(
      "evaluate-ranks computes what PEFT computes from an adapter on all linear modules, those of the pretrained head included",
      (stages) =>
        compareImport(stages, model!, { target_modules: "all-linear" }),
    );
  }

  if (OFTEN.includes(name)) {
    test(
      "PEFT and transformers compute the logits of several labels for a text, from exported adapters as a multi_label_classification and from merged ones",
      (stages) => compareLabels(stages, model!),
    );
    test(
      "evaluate-ranks computes what PEFT computes from a DoRA",
      (stages) =>
        compareImport(stages, model!, {
          target_modules: architectureIn(model!).targetModules,
          use_dora: true,
        }),
    );
  }

  for (const use_rslora of OFTEN.includes(name) ? [false, true] : [false]) {
    test(
      `evaluate-ranks computes what PEFT computes from an adapter with the modules that it saves by default${
        use_rslora ? " and rank-stabilized scale" : ""
      }`,
      async (stages) => {
        const target_modules = architectureIn(model!).targetModules;
        const config = { target_modules, use_rslora };
        if (name !== "tiny-deberta") {
          return await compareImport(stages, model!, config);
        }
        // The tiny model has no pooler, and PEFT saves "classifier" and
        // "score".
        const { message } = await assertRejects(
          () => compareImport(stages, model!, config),
          SyntaxError,
        );
        assertMatch(
          message,
          /Neither the adapter nor the model has "pooler\.dense\.weight"/,
        );
      },
    );
  }
}

Deno.test({
  name:
    "the default target modules are PEFT's, of every architecture of which it has any",
  ignore: PYTHON === undefined,
  async fn() {
    const { stdout } = await new Deno.Command(PYTHON!, {
      args: [
        "-c",
        "import json; from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as known; print(json.dumps(known))",
      ],
    }).output();
    const known = new Map<string, string[]>(
      Object.entries(JSON.parse(new TextDecoder().decode(stdout))),
    );
    const shared = ARCHITECTURES.filter(({ type }) => known.has(type));
    assert(shared.length >= 9);
    for (const { type, targetModules } of shared) {
      assertEquals([...targetModules], known.get(type), type);
    }
  },
});

function architectureIn(model: string): Architecture {
  const path = join(model, "config.json");
  return parseModel(Deno.readTextFileSync(path), path).architecture;
}

async function compareExports(
  stages: EngineStages,
  model: string,
  targetModules: TargetModules | undefined,
  more: Partial<Training> = {},
): Promise<void> {
  const { folder, given } = stages;
  const { rank } = TRAINING;
  const tensors = randomAdapter(model, rank, targetModules, 2, {
    ...more.adapter && { adapter: more.adapter },
  });
  const adapter = await saved(folder, model, targetModules, tensors, more);
  const ranks = [1, 3, 8];
  const scored = await stages.run("evaluate-ranks", { ranks }, {
    ...given,
    adapter,
  });
  const { logits: all } = readOutputs(scored);
  const size = all.length / ranks.length;
  const adapters: string[] = [];
  const models: string[] = [];
  for (const rank of ranks) {
    const exported = await runTask(exportAdapter, folder, { rank }, {
      adapter,
    });
    adapters.push(exported.output);
    const merged = await runTask(merge, folder, { rank }, { model, adapter });
    models.push(merged.output);
  }
  const theirs = await askPython(stages, model, { adapters, models });
  ranks.forEach((b, i) => {
    const logits = all.slice(i * size, (i + 1) * size);
    const title = `of ${basename(model)}, rank ${b}`;
    assertWithin(theirs.adapters[i]!, logits, `PEFT's logits ${title}`);
    assertWithin(theirs.models[i]!, logits, `transformers' logits ${title}`);
  });
}

const EMOTIONS = ["fear", "hope", "joy"];

/** Tokens of texts, each with any number of labels. */
async function labelledTokens(
  { folder, run }: EngineStages,
  model: string,
): Promise<string> {
  const train = join(folder, "labels.jsonl");
  const rows = Array.from({ length: 24 }, (_, i) => {
    const label = EMOTIONS.filter((_, k) => (i >> k) % 2 === 1);
    const text = `the film ${i} is ${label.join(" and ")} ${"so ".repeat(i)}`;
    return JSON.stringify({ text, label });
  });
  await Deno.writeTextFile(train, rows.join("\n"));
  const data = await run("fetch-data", { files: { train }, holdout: 0.5 });
  return await run("tokenize", {}, { model, data });
}

async function compareLabels(
  stages: EngineStages,
  model: string,
): Promise<void> {
  const { folder } = stages;
  const tokens = await labelledTokens(stages, model);
  const labels = EMOTIONS.length;
  const adapter = await saved(
    folder,
    model,
    "all-linear",
    randomAdapter(model, TRAINING.rank, "all-linear", labels),
    { problem: "multi-label", labels: EMOTIONS },
  );
  const ranks = [1, 8];
  const ours = await logitsByRank(stages, { model, tokens, adapter }, {
    ranks,
    precision: "f32",
  });
  const adapters: string[] = [];
  const models: string[] = [];
  for (const rank of ranks) {
    const exported = await runTask(exportAdapter, folder, { rank }, {
      adapter,
      model,
    });
    adapters.push(exported.output);
    const card = Deno.readTextFileSync(join(exported.output, "README.md"));
    assertMatch(
      card,
      /Labels, of which a text has any number: fear, hope, joy/,
    );
    assertMatch(card, /logits\.sigmoid\(\).*is predicted from 0\.5 on/);
    assertMatch(card, /problem_type="multi_label_classification"/);
    const merged = await runTask(merge, folder, { rank }, { model, adapter });
    models.push(merged.output);
  }
  const theirs = await askPython({ given: { model, tokens } }, model, {
    adapters,
    models,
    labels,
    problem_type: "multi_label_classification",
  });
  assertEquals(
    theirs.problem_types,
    ranks.map(() => "multi_label_classification"),
  );
  for (const [i, rank] of ranks.entries()) {
    const title = `of several labels, ${basename(model)}, rank ${rank}`;
    const logits = ours.get(rank)!;
    assertWithin(theirs.adapters[i]!, logits, `PEFT's logits ${title}`, CLOSE);
    assertWithin(
      theirs.models[i]!,
      logits,
      `transformers' logits ${title}`,
      CLOSE,
    );
  }
}

async function compareImport(
  stages: EngineStages,
  model: string,
  config: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { folder, given } = stages;
  const source = await Deno.makeTempDir({ dir: folder });
  const { written } = await askPython(stages, model, {
    adapters: [],
    models: [],
    write: { folder: source, config },
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

/**
 * Writes an adapter as an artifact below a folder, by default a random one;
 * gives its path.
 */
async function saved(
  folder: string,
  model: string,
  targetModules: TargetModules | undefined,
  tensors = randomAdapter(model, TRAINING.rank, targetModules),
  more: Partial<Training> = {},
): Promise<string> {
  const path = await Deno.makeTempDir({ dir: folder });
  await writeAdapter(path, {
    baseModel: undefined,
    training: {
      ...TRAINING,
      ...more,
      targetModules: targetModules ?? architectureIn(model).targetModules,
    },
    tensors,
  });
  return path;
}

function askPython(
  { given }: Pick<EngineStages, "given">,
  model: string,
  request: Omit<PeftRequest, "model" | "tokens" | "labels"> & {
    readonly labels?: number;
  },
): Promise<PeftLogits> {
  const tokens = join(given.tokens, "validation.safetensors");
  return peft!.ask({ model, tokens, labels: 2, ...request });
}

function assertWithin(
  found: readonly number[],
  expected: Float32Array,
  what: string,
  tolerance = TOLERANCE,
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
  assert(difference < tolerance, `${what}: off by ${difference}`);
}

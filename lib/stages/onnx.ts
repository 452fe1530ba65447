import { join } from "@std/path/posix/join";
import { checkFit, tensorsOf } from "../artifacts/adapter.ts";
import { writeClassifierConfig } from "../artifacts/classifier.ts";
import { outputsOf } from "../artifacts/classes.ts";
import { digestOf, exists, writeJsonFile } from "../artifacts/json_file.ts";
import { readModel } from "../artifacts/model.ts";
import type { ModuleRanks } from "../artifacts/ranks.ts";
import { copyTokenizer } from "../artifacts/tokenizer.ts";
import { type AdapterRecord, servedRanks } from "../artifacts/training.ts";
import { kindNamed } from "../engine/adapters/registry.ts";
import { scaleAt } from "../engine/adapters/scale.ts";
import type { Model } from "../engine/models/model.ts";
import {
  parameterLayout,
  type TargetModules,
  tensorReader,
} from "../engine/models/parameters.ts";
import { peftTargets } from "../engine/models/peft.ts";
import { tokenizerDefaults } from "../engine/models/registry.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { writeClassifierGraph } from "../onnx/classifier_graph.ts";
import type { Precision } from "../onnx/graph_weights.ts";
import { ModelTokenizer } from "../text/model_tokenizer.ts";
import { readTokenizerFiles } from "../text/tokenizer_files.ts";
import { readCutAdapter } from "./cut_adapter.ts";
import { type MergingStage, readMerged } from "./merge.ts";
import { modelCard } from "./model_card.ts";
import { reportedScores } from "./recommended_rank.ts";

/** A stage that exports to ONNX. */
type OnnxStage = MergingStage & {
  readonly params: {
    readonly merged: boolean;
    readonly dtype: Precision;
    readonly targetModules?: TargetModules | undefined;
  };
};

/** What was written, for the files beside it. */
interface Written {
  readonly model: Model;
  readonly training: AdapterRecord;
  readonly ranks: ModuleRanks;
  readonly tensors: Iterable<string>;
}

/** Files of a merged model, by which transformers.js tells how it is stored. */
const MERGED_FILES: Readonly<Record<Precision, string>> = {
  fp32: "model.onnx",
  fp16: "model_fp16.onnx",
  q8: "model_quantized.onnx",
};

/** How a model is stored, for its card. */
const PRECISIONS: Readonly<Record<Precision, string>> = {
  fp32: "in float32",
  fp16: "in float16, weights and activations",
  q8:
    "with weights in 8 bits, a scale for each output, and activations in 8 bits, a scale for each batch",
};

/**
 * Writes an artifact of kind `onnx`: a model that serves every rank with its
 * adapter beside it, or with `merged` a classifier at one rank for
 * transformers.js.
 */
export async function exportOnnx(stage: OnnxStage): Promise<void> {
  const { params: { merged, dtype }, inputs, output } = stage;
  const { model, training, ranks, tensors } =
    await (merged ? writeMerged(stage) : writeServed(stage));
  const { architecture } = model;
  await writeClassifierConfig(
    output,
    inputs.model.path,
    { architecture, labels: training.labels },
    // Without this, transformers.js takes 8 bits in browsers and float32 elsewhere.
    merged ? { "transformers.js_config": { dtype } } : {},
  );
  await writeTokenizer(inputs.model.path, output, model, training.maxLength);
  const used = [...new Set(ranks.values())];
  const scores = inputs.report === undefined || used.length > 1
    ? []
    : await reportedScores(
      inputs.report.path,
      training,
      stage.params,
      used[0]!,
    );
  await Deno.writeTextFile(
    join(output, "README.md"),
    modelCard({
      training,
      baseModel: undefined,
      base: undefined,
      hasOtherClasses: false,
      ranks,
      modules: peftTargets(training.targetModules, tensors),
      scores,
      figure: undefined,
      other: merged ? mergedUse(dtype) : servedUse(dtype),
    }),
  );
  stage.log(
    `${merged ? `Merged at rank ${used.join(", ")}` : "For every rank"}, ${
      PRECISIONS[dtype]
    }`,
  );
}

async function writeMerged(stage: OnnxStage): Promise<Written> {
  const { params: { dtype }, output } = stage;
  const merged = await readMerged(stage);
  const { model, training, tensors } = merged;
  await Deno.mkdir(join(output, "onnx"));
  writeClassifierGraph(join(output, "onnx", MERGED_FILES[dtype]), {
    model,
    precision: dtype,
    head: outputsOf(training.labels),
    read: (name) => tensors[name]!.values as Float32Array,
  });
  return { ...merged, tensors: merged.adapter };
}

async function writeServed(stage: OnnxStage): Promise<Written> {
  const { params: { dtype, epoch, targetModules }, inputs, output } = stage;
  const { adapter, ranks } = await readCutAdapter(stage);
  const { training } = adapter;
  const [rank, other] = new Set(ranks.values());
  if (other !== undefined) {
    throw new RangeError(
      'Ranks by module require "merged: true": a model that serves every rank has the same one in all modules',
    );
  }
  if (kindNamed(training.adapter) !== kindNamed()) {
    throw new RangeError(
      `"adapter: ${training.adapter}" requires "merged: true": a model that serves every rank computes LoRA`,
    );
  }
  const tensors = tensorsOf(adapter, epoch);
  const folder = inputs.model.path;
  const model = readModel(folder);
  checkFit(tensors, model, outputsOf(training.labels));
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const { modules } = parameterLayout(model, 1, {
    rank: 1,
    targetModules: targetModules ?? training.targetModules,
  });
  writeClassifierGraph(join(output, "model.onnx"), {
    model,
    precision: dtype,
    head: { modules: modules.map(({ name }) => name) },
    read: tensorReader(file, model),
  });
  writeSafetensors(join(output, "adapter.safetensors"), tensors, {
    format: "pt",
  });
  const digest = await digestOf(join(folder, "model.safetensors"));
  const { frame } = await ModelTokenizer.load(
    folder,
    tokenizerDefaults(model.architecture),
    model.maxLength,
  );
  await writeJsonFile(join(output, "model.json"), {
    weights: digest,
    maxLength: model.maxLength,
    padId: model.padId,
    hasData: exists(join(output, "model.onnx_data")),
    ...frame,
  });
  const { task, labels, maxLength } = training;
  await writeJsonFile(join(output, "adapter.json"), {
    weights: digest,
    task,
    labels,
    maxLength: Math.min(maxLength ?? model.maxLength, model.maxLength),
    rank,
    scales: Object.fromEntries(
      servedRanks(training).map((b) => [b, scaleAt(b, training)]),
    ),
  });
  return { model, training, ranks, tensors: Object.keys(tensors) };
}

/** Writes the tokenizer with what its class in transformers changes, which other libraries do not know. */
async function writeTokenizer(
  from: string,
  to: string,
  { architecture }: Model,
  maxLength: number | null,
): Promise<void> {
  await copyTokenizer(from, to, architecture, maxLength);
  const { settings, changes } = await readTokenizerFiles(
    from,
    tokenizerDefaults(architecture),
  );
  if (Object.keys(changes).length === 0) return;
  await writeJsonFile(join(to, "tokenizer.json"), { ...settings, ...changes });
}

function mergedUse(dtype: Precision) {
  return {
    library: "transformers.js",
    what:
      `A model for [transformers.js](https://github.com/huggingface/transformers.js), ${
        PRECISIONS[dtype]
      }, with an adapter merged into it`,
    code: codeBlock([
      'import { pipeline } from "@huggingface/transformers";',
      'const classify = await pipeline("text-classification", "FOLDER");',
      'console.log(await classify("A text"));',
    ]),
  };
}

function servedUse(dtype: Precision) {
  return {
    library: "onnx",
    what: `A model of [ONNX](https://onnx.ai), ${
      PRECISIONS[dtype]
    }, whose inputs are the factors of an adapter, and that adapter`,
    code: codeBlock([
      'import { load } from "./lib/serve/classifier.ts";',
      'const classify = await load("FOLDER");',
      'console.log(await classify(["A text"]));',
    ]),
  };
}

function codeBlock(lines: readonly string[]): string {
  return ["```js", ...lines, "```"].join("\n");
}

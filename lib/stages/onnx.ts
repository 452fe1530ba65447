import { join } from "@std/path/posix/join";
import { predictionsOf } from "../data/metrics.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { checkFit, tensorsOf } from "../artifacts/adapter.ts";
import { writeClassifierConfig } from "../artifacts/classifier.ts";
import { checkClasses, outputsOf } from "../artifacts/classes.ts";
import { digestOf, exists, writeJsonFile } from "../artifacts/json_file.ts";
import { readModel } from "../artifacts/model.ts";
import type { ModuleRanks } from "../artifacts/ranks.ts";
import { readFittingTokens } from "../artifacts/tokens.ts";
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
import { type Precision, scaleInput } from "../onnx/graph_weights.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { percent } from "../report/format.ts";
import { ModelTokenizer } from "../text/model_tokenizer.ts";
import { readTokenizerFiles } from "../text/tokenizer_files.ts";
import { readCutAdapter } from "./cut_adapter.ts";
import { type MergingStage, readMerged } from "./merge.ts";
import { onnxLogits } from "./onnx_logits.ts";
import { modelCard } from "./model_card.ts";
import { mergedCode, servedCode } from "./onnx_code.ts";
import { reportedScores } from "./recommended_rank.ts";
import { ScoredSplit } from "./scored_split.ts";

/** A stage that exports to ONNX. */
type OnnxStage = MergingStage & {
  readonly inputs: { readonly tokens: InputArtifact | undefined };
  readonly params: {
    readonly merged: boolean;
    readonly dtype: Precision;
    readonly targetModules?: TargetModules | undefined;
  };
};

/** What was written, for the files beside it. */
interface Written {
  readonly path: string;
  /** The same graph in float32. */
  readonly graph: Parameters<typeof writeClassifierGraph>[1];
  /** Inputs of the graph besides those of a batch. */
  readonly given: AdapterTensors;
  readonly model: Model;
  readonly training: AdapterRecord;
  readonly ranks: ModuleRanks;
  /** Names of the adapter's tensors. */
  readonly names: readonly string[];
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
 *
 * @param runtime The file of onnxruntime's WebAssembly
 */
export async function exportOnnx(
  stage: OnnxStage,
  runtime: string,
): Promise<void> {
  const { params: { merged, dtype }, inputs, output } = stage;
  const written = await (merged ? writeMerged(stage) : writeServed(stage));
  const { model, training, ranks, names } = written;
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
  await Deno.writeTextFile(
    join(output, "README.md"),
    modelCard({
      training,
      ranks,
      modules: peftTargets(training.targetModules, names),
      scores: await reportedScores(
        inputs.report,
        training,
        stage.params,
        ranks,
      ),
      other: useOf(stage.params, used[0]!),
      notes: await lossInWords(stage, written, runtime),
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
  const { tensors, ...merged } = await readMerged(stage);
  await Deno.mkdir(join(output, "onnx"));
  const path = join(output, "onnx", MERGED_FILES[dtype]);
  const graph: Written["graph"] = {
    model: merged.model,
    head: outputsOf(merged.training.labels),
    read: (name) => tensors[name]!.values as Float32Array,
  };
  writeClassifierGraph(path, { ...graph, precision: dtype });
  return { ...merged, path, graph, given: {} };
}

async function writeServed(stage: OnnxStage): Promise<Written> {
  const { params: { dtype, epoch, targetModules }, inputs, output } = stage;
  const { adapter, ranks, tensors: cut } = await readCutAdapter(stage);
  const { training } = adapter;
  const { task, labels } = training;
  const [rank, other] = new Set(ranks.values()) as Iterable<number>;
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
  checkFit(tensors, model, outputsOf(labels));
  const modules = parameterLayout(model, 1, {
    rank: 1,
    targetModules: targetModules ?? training.targetModules,
  }).modules.map(({ name }) => name);
  const weights = join(folder, "model.safetensors");
  const path = join(output, "model.onnx");
  const graph: Written["graph"] = {
    model,
    head: { modules },
    read(name, shape) {
      using file = SafetensorsFile.open(weights);
      return tensorReader(file, model)(name, shape);
    },
  };
  writeClassifierGraph(path, { ...graph, precision: dtype });
  writeSafetensors(join(output, "adapter.safetensors"), tensors, {
    format: "pt",
  });
  const digest = await digestOf(weights);
  const { maxLength, padId } = model;
  const { frame } = await ModelTokenizer.load(
    folder,
    tokenizerDefaults(model.architecture),
    maxLength,
  );
  const hasData = exists(`${path}_data`);
  await writeJsonFile(
    join(output, "model.json"),
    { weights: digest, maxLength, padId, hasData, ...frame },
  );
  await writeJsonFile(join(output, "adapter.json"), {
    ...{ weights: digest, task, labels, rank },
    maxLength: Math.min(training.maxLength ?? maxLength, maxLength),
    scales: Object.fromEntries(
      servedRanks(training).map((b) => [b, scaleAt(b, training)]),
    ),
  });
  const scale = new Float32Array(rank!).fill(scaleAt(rank!, training));
  const scales = modules.map((name) =>
    [scaleInput(name), { shape: [rank!], values: scale }] as const
  );
  return {
    ...{ path, graph, model, training, ranks },
    given: { ...cut, ...Object.fromEntries(scales) },
    names: Object.keys(tensors),
  };
}

/** What a smaller type costs on the labelled examples of the tokens; nothing if there are none. */
async function lossInWords(
  stage: OnnxStage,
  { model, training, ranks, graph, given, path }: Written,
  runtime: string,
): Promise<string[]> {
  const { params: { dtype, split }, inputs, checkpoint } = stage;
  if (inputs.tokens === undefined || dtype === "fp32") return [];
  const folder = inputs.tokens.path;
  const info = await readFittingTokens(folder, inputs.model.path);
  checkClasses(training, info);
  const scored = new ScoredSplit(folder, info, split ?? "validation");
  const { examples, outputs, name } = scored;
  const count = examples.labels.length;
  const whole = join(checkpoint, "model.onnx");
  writeClassifierGraph(whole, graph);
  const rank = Math.max(...ranks.values());
  const resultOf = async (path: string, done: number) => {
    const logits = await onnxLogits(
      { path, padId: model.padId, given },
      examples,
      outputs,
      runtime,
      (more) => stage.progress(done + more, 2 * count, "examples"),
    );
    const { metrics } = scored.score([rank], logits)[0]!;
    return { metrics, predictions: predictionsOf(logits, outputs) };
  };
  const before = await resultOf(whole, 0);
  const after = await resultOf(path, count);
  const scores = Object.entries(before.metrics).map(([metric, value]) =>
    `${metric} ${percent(after.metrics[metric]!)} (${
      percent(value)
    } in float32)`
  );
  const differ = Array.from(before.predictions)
    .filter((it, i) => it !== after.predictions[i]).length;
  const line = `On the ${count} examples of the split ${name}, times 100: ${
    scores.join(", ")
  }.${training.labels === null ? "" : ` ${differ} classes differ.`}`;
  stage.log(line);
  return ["## Loss by the smaller type", line];
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

/** What the card says that was written, and how it is used. */
function useOf({ merged, dtype }: OnnxStage["params"], rank: number) {
  return merged
    ? {
      library: "transformers.js",
      what:
        `A model for [transformers.js](https://github.com/huggingface/transformers.js), ${
          PRECISIONS[dtype]
        }, with an adapter merged into it`,
      code: mergedCode(`onnx/${MERGED_FILES[dtype]}`),
    }
    : {
      library: "onnx",
      what: `A model of [ONNX](https://onnx.ai), ${
        PRECISIONS[dtype]
      }, whose inputs are the factors of an adapter, and that adapter`,
      code: servedCode(rank),
    };
}

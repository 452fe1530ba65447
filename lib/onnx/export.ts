import { join } from "@std/path/posix/join";
import { type Adapter, headsByName, tensorsAt } from "../peft/adapter.ts";
import { checkFit } from "../peft/checks.ts";
import { peftNameOf } from "../peft/names.ts";
import { writeClassifierConfig } from "../artifacts/classifier.ts";
import { taskFields } from "../artifacts/classes.ts";
import { problemOf } from "../problems/registry.ts";
import { digestOf, exists, writeJsonFile } from "../artifacts/json_file.ts";
import { openWeights, readModel, readPooling } from "../artifacts/model.ts";
import { copyTokenizer, tokenizerDefaultsOf } from "../artifacts/tokenizer.ts";
import { type AdapterRecord, servedRanks } from "../artifacts/training.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { kindNamed } from "../engine/adapters/registry.ts";
import { scaleAt } from "../engine/adapters/scale.ts";
import { withHiddenStates } from "../engine/models/pooling.ts";
import {
  parameterLayout,
  storedTensors,
  type TargetModules,
} from "../engine/models/parameters.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { ModelTokenizer } from "../text/model_tokenizer.ts";
import { readTokenizerFiles } from "../text/tokenizer_files.ts";
import {
  type ClassifierGraph,
  writeClassifierGraph,
} from "./classifier_graph.ts";
import { type Precision, scaleInput } from "./graph_weights.ts";
import type { OnnxModel } from "./logits.ts";
import {
  MERGED_FILES,
  mergedEmbeddingUse,
  mergedUse,
  servedUse,
  type Usage,
} from "./usage.ts";

/** What is exported. */
interface Source {
  /** Folder of the model. */
  readonly folder: string;
  /** How its adapter was trained. */
  readonly training: AdapterRecord;
  /** Of a merged model, all that it has; otherwise those of the adapter. */
  readonly tensors: AdapterTensors;
  /** Last layers of the ranks of an adapter that have their own. */
  readonly heads?: Adapter["heads"];
  readonly dtype: Precision;
}

/** A model that was written. */
export interface WrittenModel extends OnnxModel {
  /** The same in float32; of a sentence encoder, with pooled tokens. */
  readonly graph: ClassifierGraph;
  readonly usage: Usage;
}

/**
 * Writes a classifier with an adapter merged into it, laid out for
 * transformers.js; of a sentence encoder, the model whose tokens it pools.
 */
export async function writeMergedModel(
  output: string,
  source: Source,
): Promise<WrittenModel> {
  const { folder, training, tensors, dtype } = source;
  const { head, hubTask, outputs, threshold } = problemOf(training);
  const isEmbedding = head === "embedding";
  const model = readModel(folder, head);
  await Deno.mkdir(join(output, "onnx"));
  const path = join(output, "onnx", MERGED_FILES[dtype]);
  const read = (name: string) => tensors[name]!.values as Float32Array;
  const graph: ClassifierGraph = {
    model,
    head: outputs,
    output: isEmbedding ? "sentence_embedding" : "logits",
    read,
  };
  // Transformers.js pools the tokens itself.
  const ofTokens: ClassifierGraph = {
    ...graph,
    model: withHiddenStates(model),
    output: "last_hidden_state",
  };
  writeClassifierGraph(path, {
    ...isEmbedding ? ofTokens : graph,
    precision: dtype,
  });
  // Without this, transformers.js takes 8 bits in browsers and float32
  // elsewhere.
  await writeModelFiles(output, source, {
    "transformers.js_config": { dtype },
  });
  const { padId } = model;
  return {
    path,
    padId,
    inputs: {},
    graph,
    usage: isEmbedding
      ? mergedEmbeddingUse(dtype, readPooling(folder))
      : mergedUse(dtype, hubTask.type, threshold !== undefined),
  };
}

/**
 * Writes a model that serves every rank of an adapter, and that adapter beside
 * it, for lib/serve.
 *
 * @param rank At which its use is shown
 * @param targetModules Modules with inputs for the factors of adapters; by
 * default those of the adapter
 * @throws {RangeError} If the adapter is none of LoRA.
 * @throws {SyntaxError} If the adapter does not fit the model.
 */
export async function writeServedModel(
  output: string,
  source: Source,
  rank: number,
  targetModules?: TargetModules,
): Promise<WrittenModel> {
  const { folder, training, tensors, heads, dtype } = source;
  if (kindNamed(training.adapter) !== kindNamed()) {
    throw new RangeError(
      `"adapter: ${training.adapter}" requires "merged: true": a model that serves every rank computes LoRA`,
    );
  }
  const { head, outputs } = problemOf(training);
  const model = readModel(folder, head);
  checkFit(tensors, model, outputs);
  const modules = parameterLayout(model, 1, {
    rank: 1,
    targetModules: targetModules ?? training.targetModules,
  }).modules.map(({ name }) => name);
  const path = join(output, "model.onnx");
  const isEmbedding = head === "embedding";
  const graph: ClassifierGraph = {
    model,
    head: { modules },
    output: isEmbedding ? "sentence_embedding" : "logits",
    read(name, shape) {
      using file = openWeights(folder);
      return storedTensors(file, model).read(name, shape);
    },
  };
  writeClassifierGraph(path, { ...graph, precision: dtype });
  await writeModelFiles(output, source);
  writeSafetensors(
    join(output, "adapter.safetensors"),
    { ...tensors, ...heads && headsByName(heads) },
    { format: "pt" },
  );
  const digest = await digestOf(join(folder, "model.safetensors"));
  const { maxLength, padId } = model;
  const { frame } = await ModelTokenizer.load(
    folder,
    tokenizerDefaultsOf(folder),
    maxLength,
  );
  const hasData = exists(`${path}_data`);
  await writeJsonFile(
    join(output, "model.json"),
    { weights: digest, maxLength, padId, hasData, ...frame },
  );
  await writeJsonFile(join(output, "adapter.json"), {
    weights: digest,
    ...taskFields(training),
    ...isEmbedding && { normalizes: readPooling(folder).normalizes },
    rank,
    maxLength: Math.min(training.maxLength ?? maxLength, maxLength),
    scales: Object.fromEntries(
      servedRanks(training).map((b) => [b, scaleAt(b, training)]),
    ),
  });
  const scale = new Float32Array(rank).fill(scaleAt(rank, training));
  const scales = modules.map((name) =>
    [
      scaleInput(peftNameOf(name, model)),
      { shape: [rank], values: scale },
    ] as const
  );
  const inputs = {
    ...tensorsAt(rank, source),
    ...Object.fromEntries(scales),
  };
  return {
    path,
    padId,
    inputs,
    graph,
    usage: servedUse(dtype, rank, heads !== undefined, isEmbedding),
  };
}

/**
 * Writes the configuration of a classifier, and its tokenizer with what its
 * class in transformers changes, which other libraries do not know.
 */
async function writeModelFiles(
  output: string,
  { folder, training }: Source,
  more?: Readonly<Record<string, unknown>>,
): Promise<void> {
  await writeClassifierConfig(output, folder, training, more);
  await copyTokenizer(folder, output, training.maxLength);
  const { settings, changes } = await readTokenizerFiles(
    folder,
    tokenizerDefaultsOf(folder),
  );
  if (Object.keys(changes).length === 0) return;
  const changed = { ...settings, ...changes };
  await writeJsonFile(join(output, "tokenizer.json"), changed);
}

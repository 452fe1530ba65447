/**
 * Inputs of a model for every adapter, rank, batch and length, and the logits
 * of transformers and PEFT for them (fixtures/references.py).
 */
import type { AdapterTensors } from "../../lib/engine/adapters/adapter.ts";
import {
  adapterTensor,
  cutAdapter,
} from "../../lib/engine/adapters/registry.ts";
import { headTensors } from "../../lib/engine/models/outline.ts";
import {
  parameterLayout,
  storedTensors,
} from "../../lib/engine/models/parameters.ts";
import { PEFT_PREFIX } from "../../lib/peft/names.ts";
import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import { writeClassifierGraph } from "../../lib/onnx/classifier_graph.ts";
import { type Precision, scaleInput } from "../../lib/onnx/graph_weights.ts";
import { type Reference, referenceBatch } from "../engine/reference.ts";
import { settings } from "../engine/reference_step.ts";
import type { Feed } from "./peer.ts";

/** Of the adapters that PEFT made. */
export const { rank: maxRank, alpha } = settings as {
  rank: number;
  alpha: number;
};

/** Of every logit, in float32. */
export const TOLERANCE = 1e-4;

/** A run of a model. */
interface Case {
  readonly what: string;
  readonly feed: Feed;
  readonly expected: Float32Array;
}

/** Runs of the model that {@linkcode writeServed} writes. */
export function referenceCases(reference: Reference): Case[] {
  const { figures } = reference;
  const modules = modulesOf(reference);
  const adapter = adapterOf(reference);
  const padded = batchFeed(reference, "padded");
  const unpadded = batchFeed(reference, "unpadded");
  const atRank = (b: number, rows = b): Feed => ({
    ...cut(adapter, rows),
    ...scales(modules, b, rows),
  });
  const logitsAt = (b: number) => figures.floats(`lora.logits.rank${b}`);
  return [
    ...[1, 2, 3, 4].map((b) => ({
      what: `rank ${b}`,
      feed: { ...padded, ...atRank(b) },
      expected: logitsAt(b),
    })),
    {
      what: "rank 2 of all rows",
      feed: { ...padded, ...atRank(2, maxRank) },
      expected: logitsAt(2),
    },
    {
      what: "the first example alone, without padding",
      feed: { ...firstRow(padded), ...atRank(3) },
      expected: logitsAt(3).slice(0, 2),
    },
    ...[1, 2, 3].flatMap((labels) =>
      ([["padded", padded], ["unpadded", unpadded]] as const).map((
        [batch, feed],
      ) => ({
        what: `another adapter with ${labels} labels, ${batch}`,
        feed: {
          ...feed,
          ...withoutEffect(adapter),
          ...headOf(reference, labels),
          ...scales(modules, 1, 1),
        },
        expected: figures.floats(`${batch}.logits${labels}`),
      }))
    ),
  ];
}

/** Writes a model for every rank. */
export function writeServed(
  path: string,
  reference: Reference,
  precision: Precision = "fp32",
): void {
  const { model, file } = reference;
  const head = { modules: modulesOf(reference) };
  const { read } = storedTensors(file, model);
  writeClassifierGraph(path, { model, head, read, precision });
}

/** The adapter that PEFT made, of the greatest rank. */
export function adapterOf({ figures }: Reference): AdapterTensors {
  return Object.fromEntries(
    [...figures.tensors].filter(([name]) => name.startsWith("adapter."))
      .map(([name, { shape }]) => [
        name.slice("adapter.".length),
        { shape, values: figures.floats(name) },
      ]),
  );
}

export function cut(adapter: AdapterTensors, rank: number): AdapterTensors {
  return cutAdapter(adapter, rank);
}

/** The adapter at rank 1 with factors of zeros. */
function withoutEffect(adapter: AdapterTensors): AdapterTensors {
  return Object.fromEntries(
    Object.entries(cut(adapter, 1)).filter(([name]) => adapterTensor(name))
      .map(([name, { shape, values }]) => [
        name,
        { shape, values: new Float32Array(values.length) },
      ]),
  );
}

/** Names of the modules with adapters. */
export function modulesOf({ model }: Reference): string[] {
  return parameterLayout(model, 2, { rank: maxRank }).modules
    .map(({ name }) => name);
}

/** The scale of each of some rows at rank b. */
export function scales(
  modules: readonly string[],
  b: number,
  rows: number,
): Feed {
  const values = Float32Array.from(
    { length: rows },
    (_, row) => row < b ? alpha / b : 0,
  );
  return Object.fromEntries(
    modules.map((name) => [
      scaleInput(`${PEFT_PREFIX}${name}`),
      { shape: [rows], values },
    ]),
  );
}

/** The reference's head with this many labels, by PEFT's names. */
export function headOf(
  { model, file, figures }: Reference,
  labels: number,
): Feed {
  const { read } = storedTensors(file, model);
  return Object.fromEntries(
    headTensors(model, labels)
      .map(({ name, shape }): [string, TensorValues] => {
        const found = ["head", `head${labels}`]
          .map((group) => `${group}.${name}`)
          .find((it) => figures.tensors.has(it));
        const values = found === undefined
          ? read(name, shape)
          : figures.floats(found);
        return [`${PEFT_PREFIX}${name}`, { shape, values }];
      }),
  );
}

export function batchFeed(
  reference: Reference,
  name: "padded" | "unpadded",
): Feed {
  const { shape, ids, types, mask } = referenceBatch(reference, name);
  const ones = new Int32Array(ids.length).fill(1);
  return {
    input_ids: { shape, values: ids },
    token_type_ids: { shape, values: types },
    attention_mask: { shape, values: mask ? Int32Array.from(mask) : ones },
  };
}

/** The first example of a batch, without its padding. */
function firstRow(feed: Feed): Feed {
  const { shape: [, seq], values } = feed.attention_mask!;
  const length = values.subarray(0, seq).filter((it) => it === 1).length;
  return Object.fromEntries(
    Object.entries(feed).map(([name, { values }]) => [
      name,
      { shape: [1, length], values: values.slice(0, length) },
    ]),
  );
}

/** Logits by onnxruntime-web, in Deno and in Chromium. */
import { basename, dirname } from "node:path";
import * as ort from "onnxruntime-web/wasm";
import { Browser } from "../report/chromium.ts";
import { FileServer } from "../serve/file_server.ts";
import type { Feed } from "./peer.ts";

/** A model, and inputs of runs in one session. */
interface Runs {
  readonly path: string;
  readonly feeds: readonly Feed[];
}

/** Inputs of a run as JSON: integers are given as int64. */
type JsonFeed = Record<
  string,
  { shape: readonly number[]; values: number[]; isInt: boolean }
>;

function jsonFeed(feed: Feed): JsonFeed {
  return Object.fromEntries(
    Object.entries(feed).map(([name, { shape, values }]) => [name, {
      shape,
      values: Array.from(values as ArrayLike<number>),
      isInt: values instanceof Int32Array,
    }]),
  );
}

/**
 * The logits for each of the inputs, flat. Chromium gets its text, so it uses
 * nothing else of this module.
 */
async function logitsOf(
  { InferenceSession, Tensor }: typeof ort,
  model: ArrayBuffer,
  feeds: readonly JsonFeed[],
  provider: "wasm" | "webgpu" = "wasm",
): Promise<number[][]> {
  const executionProviders = [provider];
  const session = await InferenceSession.create(model, { executionProviders });
  const all: number[][] = [];
  for (const feed of feeds) {
    const inputs: Record<string, ort.Tensor> = {};
    for (const name of session.inputNames) {
      const { shape, values, isInt } = feed[name]!;
      inputs[name] = isInt
        ? new Tensor("int64", BigInt64Array.from(values, BigInt), shape)
        : new Tensor("float32", Float32Array.from(values), shape);
    }
    const { logits } = await session.run(inputs);
    all.push(Array.from(logits!.data as Float32Array));
  }
  await session.release();
  return all;
}

/** The logits of models for each of their inputs, by WebAssembly in Deno. */
export async function denoLogits(
  models: readonly Runs[],
): Promise<number[][][]> {
  const all: number[][][] = [];
  for (const { path, feeds } of models) {
    const { buffer } = await Deno.readFile(path);
    all.push(await logitsOf(ort, buffer, feeds.map(jsonFeed)));
  }
  return all;
}

/** A WebGPU that computes on the processor. */
const WEBGPU = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
];

/** The same by WebGPU in Chromium, on the processor. */
export function webgpuLogits(models: readonly Runs[]): Promise<number[][][]> {
  return chromiumLogits(models, "webgpu");
}

/** The same in Chromium. */
export async function chromiumLogits(
  models: readonly Runs[],
  provider: "wasm" | "webgpu" = "wasm",
): Promise<number[][][]> {
  const contents = Object.fromEntries(models.flatMap(({ path, feeds }, i) => [
    [`model-${i}`, { folder: dirname(path) }],
    [`feeds-${i}.json`, { text: JSON.stringify(feeds.map(jsonFeed)) }],
  ]));
  await using server = new FileServer(contents);
  const flags = provider === "webgpu" ? WEBGPU : [];
  await using browser = await Browser.start(...flags);
  const paths = models.map(({ path }, i) => `/model-${i}/${basename(path)}`);
  await browser.open(server.address);
  return await browser.evaluate(`(async () => {
    const ort = await import("/ort.${provider}.bundle.min.mjs");
    const all = [];
    for (const [i, path] of ${JSON.stringify(paths)}.entries()) {
      const model = await (await fetch(path)).arrayBuffer();
      const feeds = await (await fetch("/feeds-" + i + ".json")).json();
      all.push(await (${logitsOf})(ort, model, feeds, "${provider}"));
    }
    return all;
  })()`);
}

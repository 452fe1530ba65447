import { canonicalJson, digest } from "../../lib/files/digest.ts";
import { treeDigest } from "../../lib/store/blobs.ts";
import type { Manifest } from "../../lib/store/manifests.ts";
import { Store } from "../../lib/store/store.ts";

/** When the first result of the tests started. */
export const START = Date.parse("2026-03-01T12:00:00Z");

/** What a result consists of, apart from what all have. */
interface Made {
  /** By default "made". */
  readonly pipeline?: string;
  readonly stage: string;
  /** Tells results of a stage apart. */
  readonly n?: number;
  /** Files with their content. */
  readonly files: Readonly<Record<string, unknown>>;
  readonly metrics?: Readonly<Record<string, number>>;
  /** Content of its input "adapter". */
  readonly adapter?: string;
}

/**
 * Commits a result to the cache, as a run of its pipeline does; the n-th starts
 * n hours after {@linkcode START} and takes 100 seconds.
 */
export async function addResult(
  store: Store,
  {
    pipeline = "made",
    stage,
    n = 0,
    files,
    metrics = {},
    adapter,
  }: Made,
): Promise<Manifest> {
  const listing = canonicalJson({ modules: {}, packages: {}, options: {} });
  const parts = {
    code: (await store.blobs.putText(listing)).blob,
    params: { stage, n },
    sources: {},
    inputs: adapter === undefined ? {} : { adapter: [{ content: adapter }] },
    runtimes: {},
  };
  const stored = await Promise.all(
    Object.entries(files).map(async ([path, value]) => ({
      path,
      ...await store.blobs.putText(JSON.stringify(value)),
    })),
  );
  const manifest: Manifest = {
    version: 2,
    key: await digest(canonicalJson(parts)),
    parts,
    task: "train",
    pipeline,
    stage,
    started: new Date(START + n * 3_600_000).toISOString(),
    runtime: "deno",
    seconds: 100,
    metrics,
    content: await treeDigest(stored),
    files: stored,
    log: await store.blobs.putText(""),
  };
  store.manifests.write(manifest);
  await store.histories.succeeded(pipeline, stage, manifest.key);
  return manifest;
}

/** `training.json` of ten steps that warm up for two. */
export const TRAINING = {
  method: "dylora",
  task: "reviews",
  labels: ["no", "yes"],
  rank: 4,
  seed: 7,
  targetModules: ["query", "value"],
  start: null,
  steps: 10,
  learningRate: 0.01,
  warmupRatio: 0.2,
  losses: [{ step: 4, loss: 0.7 }, { step: 8, loss: 0.5 }],
  selection: {
    split: "validation",
    metric: "accuracy",
    best: 1,
    epochs: [{
      epoch: 1,
      step: 5,
      score: 0.75,
      ranks: [
        { rank: 1, metrics: { accuracy: 0.7, f1: null } },
        { rank: 4, metrics: { accuracy: 0.8, f1: 0.6 } },
      ],
    }],
  },
};

/** `scores.json` at two ranks. */
export const SCORES = {
  task: "reviews",
  method: "dylora",
  seed: 7,
  split: "validation",
  ranks: [
    { rank: 1, metrics: { accuracy: 0.7, f1: null } },
    { rank: 4, metrics: { accuracy: 0.8, f1: 0.6 } },
  ],
};

/**
 * A cache with two trainings of a stage, an evaluation of the second, and an
 * adapter that was reduced.
 */
export async function filledStore(folder: string): Promise<Store> {
  const store = new Store(folder);
  await addResult(store, {
    stage: "train@seed=7",
    files: { "training.json": { ...TRAINING, rank: 2, selection: null } },
    metrics: { loss: 0.5, step_seconds: 0.25 },
  });
  const second = await addResult(store, {
    stage: "train@seed=7",
    n: 1,
    files: { "training.json": TRAINING },
    metrics: { loss: 0.5, step_seconds: 0.25 },
  });
  await addResult(store, {
    stage: "reduce",
    n: 2,
    files: { "training.json": { ...TRAINING, method: "lora-svd" } },
  });
  await addResult(store, {
    stage: "evaluate@seed=7",
    n: 3,
    files: { "scores.json": SCORES },
    adapter: second.content,
  });
  return store;
}

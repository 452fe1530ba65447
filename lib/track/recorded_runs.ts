import type { Training } from "../artifacts/training.ts";
import type { ScoresFile } from "../artifacts/scores.ts";
import { learningRateAt } from "../engine/training/adamw.ts";
import { byDotPath, type Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";

/**
 * A training or an evaluation whose result is in the cache, in the terms of
 * experiment trackers.
 */
export interface RecordedRun {
  /** Key of the result: the same run always has the same one. */
  readonly key: string;
  /** Stage and start of the key: `train-dylora@sst2,seed=0.1a2b3c4d` */
  readonly name: string;
  /**
   * Stage that ran; for a result of another pipeline, the first stage of this
   * one that has it.
   */
  readonly stage: string;
  readonly kind: "training" | "evaluation";
  /** When it started and ended, in milliseconds since 1970. */
  readonly started: number;
  readonly ended: number;
  /** Settings by name; nested ones by dot path. */
  readonly params: Readonly<Record<string, string | number | boolean>>;
  /** In ascending order of step. */
  readonly points: readonly Point[];
  /** Key of the training that an evaluation scores, if that is in the cache. */
  readonly training?: string;
}

/** A value of a run. */
interface Point {
  /**
   * `train/loss`, `train/learning_rate`, `epochs/accuracy/rank_8`,
   * `ranks/accuracy`, `seconds`
   */
  readonly name: string;
  /** Optimizer steps taken; of an evaluation, the rank. */
  readonly step: number;
  readonly value: number;
  /** In milliseconds since 1970, as if all steps took the same time. */
  readonly time: number;
}

/**
 * All trainings and evaluations of a pipeline in the cache, in the order in
 * which they started: the latest results of each stage, with any parameters,
 * those of runs with `--name` included.
 *
 * @param note Called with a sentence for each result that cannot be used.
 */
export async function recordedRuns(
  pipeline: string,
  store: Store,
  note: (text: string) => void,
): Promise<RecordedRun[]> {
  const runs: RecordedRun[] = [];
  const trained = new Map<string, string>();
  const scored: [run: RecordedRun, contents: readonly string[]][] = [];
  const seen = new Set<string>();
  const { histories } = store;
  const stages = histories.named(pipeline).flatMap((name) =>
    histories.stages(name).map((id) => [name, id] as const)
  );
  for (const [name, id] of stages) {
    for (const key of histories.read(name, id).keys) {
      // Stages with the same key share a result.
      if (seen.has(key)) continue;
      seen.add(key);
      const result = await store.lookup(key);
      if (result.state === "none") continue;
      if (result.state === "unusable") {
        note(`Left out ${id}: its result ${key.slice(0, 8)} ${result.fault}`);
        continue;
      }
      const { manifest } = result;
      const stage = manifest.pipeline === name ? manifest.stage : id;
      const has = (file: string) =>
        manifest.files.some(({ path }) => path === file);
      // Without a loss, the adapter was reduced or imported.
      if (has("training.json") && manifest.metrics.loss !== undefined) {
        runs.push(await readTraining(stage, manifest, store));
        trained.set(manifest.content, key);
      } else if (has("scores.json")) {
        const inputs = Object.values(manifest.parts.inputs).flat();
        scored.push([
          await readEvaluation(stage, manifest, store),
          inputs.map(({ content }) => content),
        ]);
      }
    }
  }
  for (const [run, contents] of scored) {
    const training = contents.map((it) => trained.get(it)).find(Boolean);
    runs.push({ ...run, ...(training !== undefined && { training }) });
  }
  return runs.sort((a, b) =>
    a.started - b.started || (a.name < b.name ? -1 : 1)
  );
}

async function readTraining(
  stage: string,
  manifest: Manifest,
  store: Store,
): Promise<RecordedRun> {
  const training: Training = await fileOf("training.json", manifest, store);
  const { losses, selection, ...settings } = training;
  if (!Array.isArray(losses) || !(settings.steps > 0)) {
    throw new SyntaxError(
      `"training.json" of the result ${
        manifest.key.slice(0, 8)
      } of ${stage} is of another version: run the stage again`,
    );
  }
  const run = runOf(stage, "training", manifest, {
    ...settings,
    selection: selection && { ...selection, epochs: undefined },
  });
  // Steps take the same time.
  const timeAt = (step: number) =>
    run.started + (run.ended - run.started) * step / training.steps;
  // Learning rates count steps from 0.
  const rateAt = (step: number) => learningRateAt(step - 1, training);
  const points: Point[] = [
    ...losses.flatMap(({ step, loss }) => [
      point("train/loss", step, loss, timeAt(step)),
      point("train/learning_rate", step, rateAt(step), timeAt(step)),
    ]),
    ...(selection?.epochs ?? []).flatMap(({ step, ranks }) =>
      ranks.flatMap(({ rank, metrics }) =>
        defined(metrics).map(([name, value]) =>
          point(`epochs/${name}/rank_${rank}`, step, value, timeAt(step))
        )
      )
    ),
    ...defined(manifest.metrics).filter(([name]) => name !== "loss")
      .map(([name, value]) => point(name, training.steps, value, run.ended)),
  ];
  return { ...run, points: points.sort((a, b) => a.step - b.step) };
}

function point(name: string, step: number, value: number, time: number): Point {
  return { name, step, value, time };
}

async function readEvaluation(
  stage: string,
  manifest: Manifest,
  store: Store,
): Promise<RecordedRun> {
  const scores: ScoresFile = await fileOf("scores.json", manifest, store);
  const { ranks, ...settings } = scores;
  const run = runOf(stage, "evaluation", manifest, settings);
  const points = ranks.flatMap(({ rank, metrics }) =>
    defined(metrics).map(([name, value]) =>
      point(`ranks/${name}`, rank, value, run.ended)
    )
  );
  const last = ranks.at(-1)?.rank ?? 0;
  points.push(point("seconds", last, manifest.seconds, run.ended));
  return { ...run, points };
}

async function fileOf(name: string, { files }: Manifest, store: Store) {
  const { blob } = files.find(({ path }) => path === name)!;
  return JSON.parse(await store.blobs.text(blob) ?? "null");
}

function runOf(
  stage: string,
  kind: RecordedRun["kind"],
  { key, started, seconds }: Manifest,
  settings: Readonly<Record<string, unknown>>,
): RecordedRun {
  const start = Date.parse(started);
  return {
    key,
    name: `${stage}.${key.slice(0, 8)}`,
    stage,
    kind,
    started: start,
    ended: start + 1000 * seconds,
    params: Object.fromEntries(
      byDotPath(settings)
        .filter(([, value]) => value !== null && value !== undefined)
        // Lists are written as JSON.
        .map(([name, value]) => [
          name,
          typeof value === "object" ? JSON.stringify(value) : value,
        ]),
    ) as RecordedRun["params"],
    points: [],
  };
}

/** Metrics with a finite value, the only ones that trackers accept. */
function defined(metrics: Readonly<Record<string, number | null>>) {
  return Object.entries(metrics).filter((entry): entry is [string, number] =>
    Number.isFinite(entry[1])
  );
}

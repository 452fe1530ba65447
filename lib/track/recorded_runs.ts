import * as z from "zod";
import { RUN_FIELDS } from "../artifacts/training.ts";
import { ScoresInfo } from "../artifacts/scores.ts";
import { EpochScores } from "../engine/training/checkpoint.ts";
import { learningRateAt } from "../engine/training/adamw.ts";
import { readLog } from "../scheduler/journal.ts";
import type { Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";

/** A training or an evaluation whose result is in the cache, in the terms of experiment trackers. */
export interface RecordedRun {
  /** Key of the result: the same run always has the same one. */
  readonly key: string;
  /** Stage and start of the key: `train-dylora@sst2,seed=0.1a2b3c4d` */
  readonly name: string;
  /** Stage that ran; for a result of another pipeline, the first stage of this one that has it. */
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
  /** `train/loss`, `train/learning_rate`, `epochs/accuracy/rank_8`, `ranks/accuracy`, `seconds` */
  readonly name: string;
  /** Optimizer steps taken; of an evaluation, the rank. */
  readonly step: number;
  readonly value: number;
  /** In milliseconds since 1970. */
  readonly time: number;
}

/**
 * All trainings and evaluations of a pipeline in the cache, in the order in which
 * they started: the latest results of each stage, with any parameters, those of
 * runs with `--name` included.
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
      const found = await store.lookup(key);
      if (found.state === "none") continue;
      if (found.state === "unusable") {
        note(`Left out ${id}: its result ${key.slice(0, 8)} ${found.fault}`);
        continue;
      }
      const { manifest } = found;
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

const { steps, learningRate, warmupRatio, losses } = RUN_FIELDS;

/** The fields of `training.json` that are read; those of earlier versions of the program lack others. */
const TrainingFile = z.looseObject({
  ...{ steps, learningRate, warmupRatio, losses },
  selection: z.looseObject({ epochs: z.array(EpochScores) }).nullish(),
});

async function readTraining(
  stage: string,
  manifest: Manifest,
  store: Store,
): Promise<RecordedRun> {
  const training = await fileOf("training.json", TrainingFile, manifest, store);
  const { losses, selection, ...settings } = training;
  const run = runOf(stage, "training", manifest, {
    ...settings,
    selection: selection && { ...selection, epochs: undefined },
  });
  const times = await lossTimes(run, manifest, store);
  const timeAt = (step: number) =>
    times.find(([logged]) => logged >= step)?.[1] ?? run.ended;
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

/**
 * When the loss of each step was reported, in milliseconds since 1970. Those
 * of attempts before the last one are not in the log: they count as reported
 * when the last attempt started.
 */
async function lossTimes(
  { started, ended }: RecordedRun,
  { log }: Manifest,
  store: Store,
): Promise<[step: number, time: number][]> {
  const reported: [step: number, at: number][] = [];
  const path = store.blobs.path(log.blob);
  let isJob = false;
  let last = 0;
  for await (const line of readLog({ from: "result", path }, false)) {
    last = line.at;
    if (line.type === "queued") isJob = true;
    if (line.type !== "metric" || line.name !== "loss") continue;
    reported.push([line.step ?? 0, line.at]);
  }
  const [first] = reported;
  if (first === undefined) return [];
  // The log of a job also covers its time in the queue, or begins when a later run takes it up.
  const start = isJob ? ended - 1000 * last : started;
  return [
    [first[0] - 1, started],
    ...reported.map(([step, at]): [number, number] => [
      step,
      Math.max(started, start + 1000 * at),
    ]),
  ];
}

const ScoresFile = z.looseObject({ ranks: ScoresInfo.shape.ranks });

async function readEvaluation(
  stage: string,
  manifest: Manifest,
  store: Store,
): Promise<RecordedRun> {
  const scores = await fileOf("scores.json", ScoresFile, manifest, store);
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

/** @throws {SyntaxError} If a field is missing or invalid. */
async function fileOf<T extends z.ZodType>(
  name: string,
  schema: T,
  { files, key, stage }: Manifest,
  store: Store,
): Promise<z.output<T>> {
  const { blob } = files.find(({ path }) => path === name)!;
  const { data, error } = schema.safeParse(
    JSON.parse(await store.blobs.text(blob) ?? "null"),
  );
  if (data !== undefined) return data;
  throw new SyntaxError(
    `"${name}" of the result ${key.slice(0, 8)} of ${stage} is invalid:\n${
      z.prettifyError(error!)
    }`,
  );
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
    params: Object.fromEntries(flattened(settings)),
    points: [],
  };
}

/** Values of a mapping and of nested mappings by dot path; lists as JSON, without null. */
function flattened(
  settings: object,
  prefix = "",
): [string, string | number | boolean][] {
  return Object.entries(settings).flatMap(([name, value]) => {
    const path = prefix + name;
    if (value === null || value === undefined) return [];
    if (Array.isArray(value)) return [[path, JSON.stringify(value)]];
    return typeof value === "object"
      ? flattened(value, `${path}.`)
      : [[path, value]];
  });
}

/** Metrics with a finite value, the only ones that trackers accept. */
function defined(metrics: Readonly<Record<string, number | null>>) {
  return Object.entries(metrics).filter((entry): entry is [string, number] =>
    Number.isFinite(entry[1])
  );
}

/**
 * The results in a cache, with the parameters and costs of everything that each
 * was made from.
 */
import { SCORES_FILES, type ScoresFile } from "../artifacts/scores.ts";
import { byDotPath, type Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";

/**
 * A result with the parameters and costs of all results that it was made from;
 * `deno task runs --json` prints it.
 */
export interface Row {
  readonly pipeline: string;
  readonly stage: string;
  /** True if the output folder shows it. */
  readonly current: boolean;
  readonly key: string;
  /** ISO date and time. */
  readonly started: string;
  /**
   * Parameters of the stage and of all that it was made from, by
   * `TASK.PARAMETER`, with mappings flattened, and its sources, runtimes and
   * code.
   */
  readonly params: Readonly<Record<string, unknown>>;
  /** From `scores.json`; empty for other results. */
  readonly ranks: ScoresFile["ranks"];
  /** What the stage reported. */
  readonly metrics: Manifest["metrics"];
  readonly seconds: {
    readonly stage: number;
    /** Seconds of the training that it scores. */
    readonly training?: number;
    /** Sum over all results that it was made from. */
    readonly total: number;
  };
  /**
   * Bytes of the adapter or classifier that it scores, else of its own files.
   */
  readonly size: number;
}

/** A result of a stage; another pipeline may have made it. */
export interface StageResult {
  readonly pipeline: string;
  readonly stage: string;
  readonly manifest: Manifest;
  /** True if the output folder shows it. */
  readonly current: boolean;
}

/** The results in a cache, and the results that each was made from. */
export class Results {
  /**
   * Latest first: those in the histories of stages, and those that are too old
   * for a history.
   */
  readonly all: readonly StageResult[];
  /** Results by the digest of their content, latest first. */
  readonly #byContent: Map<string, Manifest[]>;

  constructor(readonly store: Store) {
    const manifests = store.manifests.all().sort(latestFirst);
    this.#byContent = Map.groupBy(manifests, ({ content }) => content);
    const byKey = new Map(manifests.map((it) => [it.key, it]));
    const { histories } = store;
    const recent = histories.pipelines().flatMap((pipeline) =>
      histories.stages(pipeline).flatMap((stage) =>
        histories.read(pipeline, stage).keys.flatMap((key, i) => {
          const manifest = byKey.get(key);
          const result = { pipeline, stage, current: i === 0 };
          return manifest ? { ...result, manifest } : [];
        })
      )
    );
    const older = manifests.map((manifest) => {
      const { pipeline, stage } = manifest;
      return { pipeline, stage, current: false, manifest };
    });
    const byName = new Map(
      [...older, ...recent].map((
        it,
      ) => [`${it.pipeline}/${it.stage}/${it.manifest.key}`, it]),
    );
    this.all = [...byName.values()]
      .sort((a, b) => latestFirst(a.manifest, b.manifest));
  }

  /** A row of the table. */
  async row({ manifest, ...result }: StageResult): Promise<Row> {
    const { key, started, metrics, seconds, files } = manifest;
    const chain = this.#chain(manifest);
    const scored = isScored(manifest)
      ? chain.find(({ metrics }) => TRAINING in metrics)
      : undefined;
    const training = (scored ?? manifest).metrics[TRAINING];
    const total = chain.reduce((sum, { seconds }) => sum + seconds, 0);
    return {
      ...result,
      key,
      started,
      params: Object.fromEntries(
        chain.toReversed().flatMap(({ task, parts }) => {
          const { params, sources, runtimes, code } = parts;
          const contents = Object.entries(sources)
            .map(([name, it]) => [name, `content ${it.slice(0, 8)}`]);
          return byDotPath({
            [task]: {
              ...params,
              ...Object.fromEntries(contents),
              ...runtimes,
              code: code.slice(0, 8),
            },
          });
        }),
      ),
      ranks: await this.#scores(manifest),
      metrics,
      seconds: {
        stage: seconds,
        ...(training !== undefined && { training }),
        // As the durations of stages are.
        total: Number(total.toFixed(3)),
      },
      size: (scored?.files ?? files).reduce((sum, { size }) => sum + size, 0),
    };
  }

  /** A result and all results that it was made from, nearest first. */
  #chain(manifest: Manifest): Manifest[] {
    const chain = new Set([manifest]);
    for (const { parts, pipeline, started } of chain) {
      for (const { content } of Object.values(parts.inputs).flat()) {
        const makers = this.#byContent.get(content) ?? [];
        const earlier = makers.filter((it) => it.started <= started);
        // One that was run again has the time of its last run.
        const possible = earlier.length > 0 ? earlier : makers;
        // Several keys may have given the same content: their parameters made
        // no difference.
        const maker = possible.find((it) => it.pipeline === pipeline) ??
          possible[0];
        if (maker !== undefined) chain.add(maker);
      }
    }
    return [...chain];
  }

  async #scores(
    { files, pipeline, stage }: Manifest,
  ): Promise<ScoresFile["ranks"]> {
    const file = files.find(({ path }) => path === SCORES);
    if (file === undefined) return [];
    const text = await this.store.blobs.text(file.blob);
    if (text !== undefined) return (JSON.parse(text) as ScoresFile).ranks;
    throw new Error(
      `The cache has lost "${SCORES}" of "${pipeline}/${stage}": run "deno task cache verify"`,
    );
  }
}

function latestFirst(a: Manifest, b: Manifest): number {
  return a.started < b.started ? 1 : -1;
}

/** True for results that have scores. */
export function isScored({ files }: Manifest): boolean {
  return files.some(({ path }) => path === SCORES);
}

const [SCORES] = SCORES_FILES;

/** Metric with the seconds of a training over all attempts. */
export const TRAINING = "training_seconds";

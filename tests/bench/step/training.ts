import { join } from "node:path";
import process from "node:process";
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import type { LabelledExamples } from "../../../lib/data/example.ts";
import {
  type Classifier,
  loadClassifier,
} from "../../../lib/engine/models/classifier.ts";
import type { HeadName, Model } from "../../../lib/engine/models/model.ts";
import { startValues } from "../../../lib/engine/models/parameters.ts";
import { withHead } from "../../../lib/engine/models/outline.ts";
import { withPooling } from "../../../lib/engine/models/pooling.ts";
import { parseModel } from "../../../lib/engine/models/registry.ts";
import { type LossName, lossNamed } from "../../../lib/engine/ops/loss.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { dylora } from "../../../lib/engine/schedules/dylora.ts";
import type { AdamWState } from "../../../lib/engine/training/adamw.ts";
import { type Batch, padParts } from "../../../lib/engine/training/batch.ts";
import { evaluator } from "../../../lib/engine/training/evaluation.ts";
import { trainingStep } from "../../../lib/engine/training/step.ts";
import type { PeerWork } from "../peer/peer.ts";
import { RANKS } from "./work.ts";

/** What each head is trained by. */
const LOSSES: Readonly<Record<HeadName, LossName>> = {
  sequence: "cross-entropy",
  tokens: "cross-entropy",
  language: "next-token",
  embedding: "multiple-negatives-ranking",
};

/** The model of a `config.json` with a head that is timed. */
export function modelWithHead(config: string, head: HeadName): Model {
  const model = parseModel(config);
  return head === "embedding"
    ? withPooling(model, "mean")
    : withHead(model, head);
}

/** What a {@linkcode Work} is timed at. */
export type Phase = "step" | "evaluation";

/** A model in training, and a batch. The engine must have been started. */
export class Work {
  readonly #work: PeerWork;
  readonly #eager: boolean;
  readonly #classifier: Classifier;
  readonly #examples: LabelledExamples;
  readonly #batches: readonly Batch[];
  readonly #takeStep: ReturnType<typeof trainingStep>;
  #evaluate: ReturnType<typeof evaluator> | undefined;
  readonly trained: number;
  #state: AdamWState;
  #step = 0;

  /**
   * @param folder Folder of the model
   * @param eager Runs steps and evaluations operation by operation instead of
   * as graphs
   */
  constructor(folder: string, work: PeerWork, eager = false) {
    this.#work = work;
    this.#eager = eager;
    const config = Deno.readTextFileSync(join(folder, "config.json"));
    const model = modelWithHead(config, work.head);
    using file = SafetensorsFile.open(join(folder, "model.safetensors"));
    this.#classifier = loadClassifier(file, model, work.labels, {
      rank: work.rank,
      targetModules: model.architecture.targetModules,
    });
    const { size } = this.#classifier.layout;
    this.#examples = work.head === "embedding"
      ? fullPairs(work, model.vocabSize)
      : fullExamples(work, work.batch, model.vocabSize);
    const rows = Array.from({ length: work.batch }, (_, i) => i);
    const loss = LOSSES[work.head];
    this.#batches = padParts(
      this.#classifier,
      this.#examples,
      rows,
      1,
      () => work.length,
      lossNamed(loss).seesBatch === true,
    );
    this.#takeStep = trainingStep(this.#classifier, {
      objective: dylora.objective(z.object(dylora.settings).parse({}), {
        rank: work.rank,
        alpha: work.alpha,
        scaling: dylora.scaling,
      }),
      loss,
      dropout: true,
      eager,
      optimizer: {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: 0.1,
        clipNorm: 1,
      },
    });
    this.trained = size;
    this.#state = {
      values: tf.tensor1d(startValues(file, this.#classifier, 0)),
      moment1: tf.zeros([size]),
      moment2: tf.zeros([size]),
    };
  }

  /** Seconds of each of some steps, or of some evaluations at ranks 1 to 8. */
  async take(phase: Phase, count: number): Promise<number[]> {
    if (phase === "step") return this.step(count).seconds;
    return (await this.evaluate(RANKS, count)).seconds;
  }

  step(count: number) {
    const seconds: number[] = [];
    let loss = NaN;
    for (let i = 0; i < count; i++) {
      const begin = performance.now();
      const result = this.#takeStep(this.#state, this.#batches, {
        step: this.#step++,
        ranks: [this.#work.rank],
        learningRate: 1e-3,
        seed: 0,
      });
      loss = result.loss.dataSync()[0]!;
      seconds.push((performance.now() - begin) / 1000);
      tf.dispose([...Object.values(this.#state), result.loss]);
      this.#state = result.state;
    }
    return { seconds, loss, peak_bytes: peakBytes() };
  }

  /** Passes of the batch at all ranks; the first one traces. */
  async evaluate(ranks: readonly number[], count: number) {
    const values = this.#state.values.dataSync() as Float32Array;
    this.#evaluate ??= evaluator(this.#classifier, {
      alpha: this.#work.alpha,
      scaling: "rank",
      batchSize: this.#work.batch,
      eager: this.#eager,
    });
    const seconds: number[] = [];
    for (let i = 0; i < count; i++) {
      const begin = performance.now();
      await this.#evaluate(values, ranks, this.#examples);
      seconds.push((performance.now() - begin) / 1000);
    }
    return { seconds, peak_bytes: peakBytes() };
  }
}

/**
 * Examples of full length, of random tokens; to be written are all but the
 * first.
 */
function fullExamples(
  { length, labels, head }: PeerWork,
  count: number,
  vocabSize: number,
): LabelledExamples {
  const startsOf = (length: number) =>
    Int32Array.from({ length: count + 1 }, (_, i) => i * length);
  const ids = randomTokens(count * length, vocabSize);
  const read = head === "language" ? length - 1 : length;
  const places = Int32Array.from({ length: count * read }, (_, i) => i % read);
  return {
    ids,
    types: new Uint8Array(count * length),
    offsets: startsOf(length),
    index: Int32Array.from({ length: count }, (_, i) => i),
    labels: head === "language"
      ? Float32Array.from(ids.filter((_, i) => i % length > 0))
      : Float32Array.from(
        { length: head === "tokens" ? count * length : count },
        (_, i) => i % labels,
      ),
    ...head !== "sequence" &&
      { words: { offsets: startsOf(read), tokens: places, numbers: places } },
  };
}

/**
 * Random token ids. The first of a vocabulary are special tokens: one of them
 * would count as padding.
 */
function randomTokens(count: number, vocabSize: number): Int32Array {
  const random = seededRandom(0, "tokens");
  return Int32Array.from(
    { length: count },
    () => 5 + Math.floor(random.next() * (vocabSize - 5)),
  );
}

/** Pairs of texts of full length, of random tokens, no two alike. */
function fullPairs(
  { batch, length }: PeerWork,
  vocabSize: number,
): LabelledExamples {
  const sequences = 2 * batch;
  return {
    ids: randomTokens(sequences * length, vocabSize),
    types: new Uint8Array(sequences * length),
    offsets: Int32Array.from({ length: sequences + 1 }, (_, i) => i * length),
    sequencesPerExample: 2,
    index: Int32Array.from({ length: batch }, (_, i) => i),
    labels: Float32Array.from({ length: sequences }, (_, i) => i),
    width: 2,
  };
}

/** Largest resident size so far. */
export function peakBytes(): number {
  const status = Deno.build.os === "linux"
    ? /^VmHWM:\s+(\d+) kB/m.exec(Deno.readTextFileSync("/proc/self/status"))
    : null;
  return status === null ? process.memoryUsage().rss : Number(status[1]) * 1024;
}

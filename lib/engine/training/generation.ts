import * as tf from "@tensorflow/tfjs-core";
import type { AdapterScale } from "../adapters/scale.ts";
import { type Classifier, splitParameters } from "../models/classifier.ts";
import {
  type LayerCache,
  PromptPass,
  StepPass,
  type StepTokens,
} from "../models/generation_pass.ts";
import { forward, type Head, type Model } from "../models/model.ts";
import type { PassTensors } from "../models/pass_weights.ts";
import { fused, trace } from "../trace.ts";
import { shardSizes, splitBatch } from "./batch.ts";
import { scalesAt } from "./evaluation.ts";
import { yieldToEvents } from "./progress.ts";

/** How texts are searched, as in transformers' `generate()`. */
export interface SearchOptions {
  /**
   * Continuations of a prompt that are followed; 1 takes the most probable
   * token each time.
   */
  readonly beams: number;
  /**
   * Exponent of the length by which the log-probability of a text is divided.
   */
  readonly lengthPenalty: number;
  /** Maximum tokens that are written. */
  readonly maxTokens: number;
  /** Tokens that end a text. */
  readonly ends: readonly number[];
}

export interface GeneratorOptions
  extends SearchOptions, Omit<AdapterScale, "rank"> {
  /** Prompts at a time. */
  readonly batchSize: number;
}

interface GenerationHooks {
  readonly signal?: AbortSignal | undefined;
  /** Called after each batch with the number of prompts done. */
  readonly progress?: ((prompts: number) => void) | undefined;
  /**
   * Called after each token with the numbers of a prompt and of a rank, and the
   * best text so far.
   */
  readonly written?:
    | ((prompt: number, rank: number, tokens: readonly number[]) => void)
    | undefined;
}

/** Prompts are padded to a multiple of this, so that few lengths are traced. */
const BUCKET = 16;

/** The parameters and the ranks in use. */
interface AdapterTensors {
  readonly values: tf.Tensor1D;
  readonly scale: tf.Tensor2D;
}

/** Keys and values by shard and layer. */
type Caches = LayerCache[][];

/** A model whose language head reads the last token alone. */
export function lastReader(model: Model): Model {
  const read: Head["read"] = (m, x) => m.last(x, undefined);
  const language = { ...model.heads.language!, read };
  return { ...model, heads: { ...model.heads, language } };
}

/**
 * Makes a function that writes texts with any number of parameter vectors of
 * one model, each at any ranks; disposed, it frees its graph functions.
 *
 * Prompts are computed once at all ranks; then a token of all texts is one call
 * of a traced function, which takes the keys and values of the prompts and
 * those of the tokens so far, in a cache of fixed size.
 */
export function generator(classifier: Classifier, options: GeneratorOptions) {
  const { model, layout, weights } = classifier;
  const { beams, maxTokens } = options;
  const candidates = candidateCount(options);
  const reader = lastReader(model);
  const tensorsOf = ({ values, scale }: AdapterTensors): PassTensors => ({
    weights,
    layout,
    ranks: { scale },
    parameters: splitParameters(values, layout),
  });

  /**
   * The next tokens of each sequence and their scores,
   * `[sequences, candidates]` each, by the passes of all shards.
   */
  function run(passes: readonly (PromptPass | StepPass)[]) {
    const candidatesOf = passes.map((pass) => {
      const logits = forward(reader, pass, layout.outputs).value;
      const { values, indices } = tf.topk(logits, candidates);
      // A single beam compares nothing but the candidates of one token.
      const scores = beams === 1
        ? values
        : values.sub(logSum({ logits }).value);
      return { tokens: indices, scores };
    });
    return {
      tokens: tf.concat(candidatesOf.map(({ tokens }) => tokens)),
      scores: tf.concat(candidatesOf.map(({ scores }) => scores)),
      caches: passes.map(({ layers }) => layers),
    };
  }

  const readPrompts = trace((
    { adapter, ids, mask }: {
      readonly adapter: AdapterTensors;
      readonly ids: tf.Tensor2D;
      readonly mask: tf.Tensor2D;
    },
  ) => {
    const positions: tf.Tensor2D = mask.cumsum(1).sub(1).relu().cast("int32");
    const all = { ids, mask, positions, types: tf.zerosLike(ids) };
    const inputs = splitBatch(all, shardSizes(ids.shape[0], 1));
    return run(
      inputs.map((input) => new PromptPass({ ...tensorsOf(adapter), input })),
    );
  });

  const writeToken = trace((
    { adapter, ids, at, mask, parents, prompt, generated }:
      & Omit<StepTokens, "prompt" | "generated">
      & Readonly<Record<"prompt" | "generated", Caches>>
      & { readonly adapter: AdapterTensors },
  ) => {
    const sizes = shardSizes(mask.shape[0], 1);
    const masks = mask.split<tf.Tensor2D>(sizes);
    const rows = sizes.map((size) => adapter.scale.shape[0] * size * beams);
    const shards = splitBatch({ ids, parents }, rows);
    return run(shards.map((tokens, shard) =>
      new StepPass(tensorsOf(adapter), {
        ...tokens,
        at,
        mask: masks[shard]!,
        prompt: prompt[shard]!,
        generated: generated[shard]!,
      })
    ));
  });

  /**
   * The tokens that follow each prompt at each rank, without the one that ends
   * them.
   *
   * @param values Flat parameters, `[size]`
   * @param served Ranks, 1-based; 0 without adapters
   * @returns `[ranks][prompts][tokens]`
   * @throws {RangeError} If a prompt is empty, or the model has no positions
   * for it and what is to be written.
   */
  async function generate(
    values: Float32Array,
    served: readonly number[],
    prompts: readonly ArrayLike<number>[],
    { signal, progress, written }: GenerationHooks = {},
  ): Promise<(readonly number[])[][]> {
    checkPrompts(prompts, maxTokens, model.maxLength);
    const adapter = {
      values: tf.tensor1d(values),
      scale: scalesAt(served, layout, options),
    };
    const searches = served.map(() => prompts.map(() => new Search(options)));
    const order = [...prompts.keys()]
      .sort((a, b) => prompts[b]!.length - prompts[a]!.length);
    try {
      for (let done = 0; done < order.length; done += options.batchSize) {
        const batch = order.slice(done, done + options.batchSize);
        await write(
          adapter,
          batch.map((i) => prompts[i]!),
          searches.map((all) => batch.map((i) => all[i]!)),
          async () => {
            await yieldToEvents();
            signal?.throwIfAborted();
            for (const i of batch) {
              searches.forEach((all, rank) => written?.(i, rank, all[i]!.best));
            }
          },
        );
        progress?.(done + batch.length);
      }
      return searches.map((all) => all.map(({ best }) => best));
    } finally {
      tf.dispose(adapter);
    }
  }

  /**
   * Writes what follows some prompts.
   *
   * @param searches `[ranks][prompts]`
   * @param onToken Called after each token
   */
  async function write(
    adapter: AdapterTensors,
    prompts: readonly ArrayLike<number>[],
    searches: readonly (readonly Search[])[],
    onToken: () => Promise<void>,
  ): Promise<void> {
    // The rows of a step are those of each shard, in it of each rank, prompt
    // and beam.
    let start = 0;
    const shards = shardSizes(prompts.length, 1).map((size) => {
      const from = start;
      start += size;
      return searches.flatMap((all) => all.slice(from, start));
    });
    const { ids, mask } = paddedPrompts(prompts, model.padId);
    let { tokens, scores, caches } = readPrompts({ adapter, ids, mask });
    const prompt = caches;
    caches = emptyCaches(prompt, beams, maxTokens);
    try {
      for (let at = 0;; at++) {
        const tokenValues = await tokens.data();
        const scoreValues = await scores.data();
        tf.dispose([tokens, scores]);
        const size = (at === 0 ? 1 : beams) * candidates;
        shards.flat().forEach((search, i) => {
          const start = i * size;
          search.advance(
            tokenValues.subarray(start, start + size),
            scoreValues.subarray(start, start + size),
          );
        });
        await onToken();
        if (shards.flat().every(({ isDone }) => isDone)) return;
        const last = shards.flat()
          .flatMap(({ running }) =>
            running.map(({ tokens }) => tokens.at(-1)!)
          );
        const parents = shards.flatMap((all) =>
          all.flatMap(({ running }, i) =>
            running.map(({ parent }) => i * beams + parent)
          )
        );
        const generated = caches;
        ({ tokens, scores, caches } = tf.tidy(() =>
          writeToken({
            adapter,
            mask,
            prompt,
            generated,
            ids: tf.tensor2d(last, [last.length, 1], "int32"),
            at: tf.tensor1d([at]),
            parents: beams === 1 ? undefined : tf.tensor1d(parents, "int32"),
          })
        ));
        tf.dispose(generated);
      }
    } finally {
      tf.dispose([ids, mask, prompt, caches]);
    }
  }

  return Object.assign(generate, {
    [Symbol.dispose]() {
      readPrompts.dispose();
      writeToken.dispose();
    },
  });
}

/** The logarithm of the sum of exponentials of each row. */
const logSum = fused(({ logits }: { readonly logits: tf.Tensor }) => {
  const max: tf.Tensor = logits.max(-1, true);
  const sum = logits.sub(max).exp().sum(-1, true);
  return { value: max.add(sum.log()) };
});

/**
 * Caches for the generated tokens of all beams, of which nothing is read before
 * it is written.
 */
function emptyCaches(prompt: Caches, beams: number, slots: number): Caches {
  const made = new Map<string, tf.Tensor4D>();
  const empty = ({ shape: [sequences, heads, , depth] }: tf.Tensor4D) => {
    const shape = [sequences * beams, heads, slots, depth] as const;
    return made.getOrInsertComputed(String(shape), () => tf.zeros([...shape]));
  };
  return prompt.map((layers) =>
    layers.map(({ key, value }) => ({ key: empty(key), value: empty(value) }))
  );
}

function checkPrompts(
  prompts: readonly ArrayLike<number>[],
  maxTokens: number,
  maxLength: number,
): void {
  prompts.forEach(({ length }, i) => {
    const what = `Prompt ${i + 1}`;
    if (length === 0) {
      throw new RangeError(`${what} is empty: it needs a token or more`);
    }
    if (length + maxTokens > maxLength) {
      throw new RangeError(
        `${what} has ${length} tokens, and with ${maxTokens} to write these are more than the ${maxLength} that the model has positions for: shorten it, or write fewer`,
      );
    }
  });
}

/**
 * Prompts with padding before them, so that what follows starts in one column:
 * `[prompts, tokens]`
 */
function paddedPrompts(prompts: readonly ArrayLike<number>[], padId: number) {
  const longest = Math.max(...prompts.map(({ length }) => length));
  const columns = Math.ceil(longest / BUCKET) * BUCKET;
  const shape: [number, number] = [prompts.length, columns];
  const ids = new Int32Array(columns * prompts.length).fill(padId);
  const mask = new Float32Array(ids.length);
  prompts.forEach((prompt, row) => {
    const end = (row + 1) * columns;
    ids.set(prompt, end - prompt.length);
    mask.fill(1, end - prompt.length, end);
  });
  return {
    ids: tf.tensor2d(ids, shape, "int32"),
    mask: tf.tensor2d(mask, shape),
  };
}

/** Candidates needed so that `beams` survive end tokens. */
function candidateCount({ beams, ends }: SearchOptions): number {
  return beams * Math.max(2, 1 + ends.length);
}

/** A text that goes on. */
interface Beam {
  readonly tokens: readonly number[];
  /** Sum of log-probabilities. */
  readonly score: number;
  /** Number of the beam that it continues. */
  readonly parent: number;
}

/**
 * The search for one text, as that of transformers with `early_stopping=False`;
 * with one beam, greedy.
 */
class Search {
  isDone = false;
  /** Texts that go on, as many as there are beams once it has advanced. */
  running: readonly Beam[] = [{ tokens: [], score: 0, parent: 0 }];
  /** Ended texts, the best first. */
  #ended: readonly Beam[] = [];

  constructor(private readonly options: SearchOptions) {}

  /** The best text that has ended, or of those that go on. */
  get best(): readonly number[] {
    return (this.#ended[0] ?? this.running[0]!).tokens;
  }

  /**
   * Continues each beam by its candidates.
   *
   * @param tokens Of the beams, the best first, `[beams, candidates]`
   * @param scores Their log-probabilities
   */
  advance(tokens: ArrayLike<number>, scores: ArrayLike<number>): void {
    if (this.isDone) return;
    const { beams, ends, maxTokens, lengthPenalty } = this.options;
    const count = candidateCount(this.options);
    const continued = this.running.flatMap((beam, parent) =>
      Array.from({ length: count }, (_, i): Beam => ({
        tokens: [...beam.tokens, tokens[parent * count + i]!],
        score: Math.fround(beam.score + scores[parent * count + i]!),
        parent,
      }))
    ).sort(byScore).slice(0, count);
    const { length } = continued[0]!.tokens;
    const isLast = length === maxTokens;
    const isEnd = ({ tokens }: Beam) => ends.includes(tokens.at(-1)!);
    const scored = (score: number) =>
      Math.fround(score / Math.fround(length ** lengthPenalty));
    const ended = continued.slice(0, beams)
      .filter((it) => isLast || isEnd(it))
      .map((it) => ({
        ...it,
        tokens: isEnd(it) ? it.tokens.slice(0, -1) : it.tokens,
        score: scored(it.score),
      }));
    this.#ended = [...this.#ended, ...ended].sort(byScore).slice(0, beams);
    this.running = continued.filter((it) => !isEnd(it)).slice(0, beams);
    const isFull = this.#ended.length === beams;
    // No text that goes on is better than all that have ended, if it ended
    // here.
    const isBeaten = isFull &&
      (beams === 1 ||
        scored(this.running[0]!.score) <= this.#ended.at(-1)!.score);
    this.isDone = isLast || isBeaten;
  }
}

function byScore(a: Beam, b: Beam): number {
  return b.score - a.score;
}

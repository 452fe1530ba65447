import { join } from "@std/path/posix/join";
import { taskFields } from "../artifacts/classes.ts";
import { readDatasetInfo, readExamples } from "../artifacts/dataset.ts";
import { writeScores } from "../artifacts/scores.ts";
import { trainingDigest } from "../artifacts/training.ts";
import type { Example } from "../data/example.ts";
import { forwardFlops } from "../engine/models/outline.ts";
import { tokenizerDefaults } from "../engine/models/registry.ts";
import { provenanceOf } from "../engine/schedules/registry.ts";
import { generator, lastReader } from "../engine/training/generation.ts";
import { type Adapter, afterEpoch, readAdapter } from "../peft/adapter.ts";
import type { InputArtifact, InputsOf, Stage } from "../pipeline/task.ts";
import { checkSameLabels, problemOf } from "../problems/registry.ts";
import { textStatistics } from "../problems/text_metrics.ts";
import { textMark } from "../problems/writing.ts";
import { ModelTokenizer } from "../text/model_tokenizer.ts";
import { loadAdapter, type Ready, selectedRanks } from "./load_classifier.ts";
import { chosenToScore } from "./recommended_rank.ts";
import type {
  REPORT_INPUT,
  ScoredRanks,
  UsageSettings,
  WritingSettings,
} from "./settings.ts";

/**
 * Writes texts for a split at some ranks of the adapter of a stage, and an
 * artifact of kind `scores` of these texts.
 */
export async function generate(
  stage: Stage<
    & UsageSettings
    & WritingSettings
    & { readonly split: string; readonly ranks: ScoredRanks },
    & Readonly<Record<"model" | "adapter" | "data", InputArtifact>>
    & InputsOf<typeof REPORT_INPUT>
  >,
): Promise<void> {
  const { params, inputs, output } = stage;
  const read = await readAdapter(inputs.adapter.path);
  const adapter = afterEpoch(read, params.epoch);
  const { training } = adapter;
  const chosen = await chosenToScore(stage, training);
  const ranks = selectedRanks(chosen.ranks, training);
  const units = await referencesOf(inputs.data.path, params.split, training);
  const ready = await loadAdapter(stage, inputs.model.path, adapter);
  const written = await writeTexts(stage, ready, units, { ...params, ranks });
  const { texts, tokens, flops } = written;
  const labels = Float32Array.from(units, textMark);
  const problem = problemOf({ problem: "writing", labels: null });
  const statistics = texts.map((ofRank) =>
    textStatistics(
      units.map(({ completions: references }, k) => (
        { text: ofRank[k]!, references }
      )),
    )
  );
  const lines = units.map(({ index, text, completions }, k) =>
    JSON.stringify({
      index,
      text,
      references: completions,
      written: Object.fromEntries(ranks.map((rank, i) => [rank, texts[i]![k]])),
    }) + "\n"
  );
  await Deno.writeTextFile(join(output, "texts.jsonl"), lines.join(""));
  await writeScores(output, {
    ...taskFields({ ...training, problem: problem.name }),
    provenance: provenanceOf(training),
    seed: training.seed,
    training: await trainingDigest(inputs.adapter.path),
    epoch: params.epoch,
    split: params.split,
    precision: ready.precision,
    examples: units.length,
    tokens,
    flops,
    ranks: ranks.map((rank, i) => {
      const metrics = Object.keys(problem.metrics)
        .map((name) => [name, problem.scorer(name, labels)()(statistics[i]!)]);
      return { rank, metrics: Object.fromEntries(metrics) };
    }),
  }, {
    logits: Float32Array.from(statistics.flatMap((ofRank) => [...ofRank])),
    labels,
  });
}

/** The examples of a split, each with texts that people wrote. */
async function referencesOf(
  data: string,
  split: string,
  training: Adapter["training"],
) {
  const info = await readDatasetInfo(data);
  const other = [training, info].find(({ problem }) => problem !== "language");
  if (other !== undefined) {
    const what = problemOf(other).inWords(other.task);
    throw new RangeError(
      `Texts are not written for ${what}: score its adapter by evaluate-ranks`,
    );
  }
  checkSameLabels(training, info, "data");
  if (!Object.hasOwn(info.splits, split)) {
    const splits = Object.keys(info.splits).join(", ");
    throw new RangeError(
      `There is no split "${split}"; the splits are ${splits}`,
    );
  }
  const examples = await readExamples(data, split);
  return examples.map(({ completions, ...prompt }, i) => {
    if (completions !== undefined) return { ...prompt, completions };
    const example = `Example ${i + 1} of the split "${split}"`;
    throw new RangeError(
      `${example} has no text to compare with: choose a split with texts to write`,
    );
  });
}

/** A prompt. */
type Prompt = Pick<Example, "text" | "messages">;

/** Options of {@linkcode textWriter}. */
type WriterOptions = WritingSettings & Pick<UsageSettings, "batchSize">;

/**
 * Writes texts as {@linkcode textWriter} does, once, with the progress of a
 * stage.
 */
export async function writeTexts(
  stage: Pick<Stage<unknown>, "progress" | "signal" | "log">,
  ready: Ready,
  prompts: readonly Prompt[],
  { ranks, ...options }: WriterOptions & { readonly ranks: readonly number[] },
) {
  const isChat = prompts.some(({ messages }) => messages);
  using write = await textWriter(ready, isChat, options);
  const written = await write(prompts, ranks, {
    signal: stage.signal,
    progress: (done) => stage.progress(done, prompts.length, "texts"),
  });
  const { cut } = written;
  if (cut > 0) stage.log(`${cut} prompts have lost their beginning`);
  return written;
}

/**
 * Makes a function that writes a text after each prompt at each rank. A prompt
 * that leaves no room for it loses its beginning.
 *
 * @param isChat Whether prompts are messages, and texts end as answers
 * @throws {RangeError} If there is no room for any prompt.
 */
export async function textWriter(
  { folder, classifier, values, alpha, scaling }: Ready,
  isChat: boolean,
  options: WriterOptions,
) {
  const { architecture, maxLength } = classifier.model;
  const room = maxLength - options.maxTokens;
  if (room < 1) {
    throw new RangeError(
      `"maxTokens" is ${options.maxTokens}, but the model has ${maxLength} positions, of which a prompt needs some: choose fewer, such as ${
        maxLength >> 1
      }`,
    );
  }
  const defaults = tokenizerDefaults(architecture);
  const { date } = options;
  const tokenizer = await ModelTokenizer.load(
    folder,
    defaults,
    maxLength,
    date,
  );
  const ends = tokenizer.ends(isChat);
  const generate = generator(classifier, { ...options, alpha, scaling, ends });
  const textOf = (ids: readonly number[]) => tokenizer.decode(ids, isChat);
  const reader = { ...classifier, model: lastReader(classifier.model) };

  /**
   * @param hooks.written Called with the text so far of a prompt at a rank, by
   * their numbers
   */
  async function write(
    prompts: readonly Prompt[],
    ranks: readonly number[],
    { written, ...hooks }: {
      readonly signal?: AbortSignal;
      readonly progress?: (done: number) => void;
      readonly written?: (prompt: number, rank: number, text: string) => void;
    } = {},
  ) {
    const all = prompts.map((it) => tokenizer.encodePrompt(it));
    const ids = all.map((it) => it.slice(-room));
    const texts = await generate(values, ranks, ids, {
      ...hooks,
      written: written &&
        ((prompt, rank, ids) => written(prompt, rank, textOf(ids))),
    });
    const flops = ids.map(({ length }, i) =>
      texts.reduce((sum, ofRank) => {
        const count = ofRank[i]!.length;
        // On the average, half of the text is before a token.
        const before = length + (count - 1) / 2;
        const step = forwardFlops(reader, [1, 1], 1, before);
        return sum + options.beams * count * step;
      }, forwardFlops(reader, [1, length], ranks.length))
    );
    return {
      /** `[ranks][prompts]` */
      texts: texts.map((ofRank) => ofRank.map(textOf)),
      /** Prompts that have lost their beginning. */
      cut: all.filter(({ length }) => length > room).length,
      /** Tokens of the prompts. */
      tokens: ids.flat().length,
      /**
       * Floating-point operations, counted by {@linkcode forwardFlops} without
       * padding.
       */
      flops: flops.reduce((sum, it) => sum + it, 0),
    };
  }
  return Object.assign(write, {
    [Symbol.dispose]: () => generate[Symbol.dispose](),
  });
}

import { writeRanks } from "../artifacts/ranks.ts";
import { trainingDigest } from "../artifacts/training.ts";
import type { EncodedExamples } from "../data/example.ts";
import { meanLoss } from "../data/metrics.ts";
import { valuesPerRank } from "../engine/adapters/registry.ts";
import { peftName } from "../engine/models/peft.ts";
import { methodName } from "../engine/schedules/registry.ts";
import { evaluator } from "../engine/training/evaluation.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import {
  bestStep,
  evenRank,
  greedyRanks,
  type RankPerModule,
  valuesAt,
} from "../ranks/greedy_ranks.ts";
import { spreadExamples } from "../ranks/spread_examples.ts";
import { ranksByModule } from "./cut_adapter.ts";
import { type AdapterStage, openAdapter } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";

/** Choices per forward pass. */
const CHOICES_PER_PASS = 8;

/** Chooses a rank for each module of the adapter of a stage, if its input gives none, and scores these ranks. */
export async function chooseRanks(
  stage: AdapterStage<
    {
      readonly averageRank?: number | undefined;
      readonly selectOn: string;
      readonly examples: number;
      readonly split: string;
      readonly batchSize: number;
    },
    { readonly ranks: InputArtifact | undefined }
  >,
): Promise<void> {
  const { params, inputs, signal } = stage;
  const { averageRank } = params;
  if ((averageRank === undefined) === (inputs.ranks === undefined)) {
    throw new RangeError(
      'Either set "averageRank", the budget of a search, or connect the input "ranks", ranks to score',
    );
  }
  // The search starts at rank 1 in every module.
  const { adapter, training, info, load } = await openAdapter(stage, [1]);
  const trained = {
    seed: training.seed,
    training: await trainingDigest(inputs.adapter.path),
    epoch: params.epoch,
  };
  const byModule = inputs.ranks &&
    await ranksByModule(inputs.ranks, adapter, trained);
  const tokens = inputs.tokens.path;
  const selection = new ScoredSplit(tokens, info, params.selectOn);
  const held = new ScoredSplit(tokens, info, params.split);
  if (selection.name === held.name) {
    throw new RangeError(
      `"selectOn" and "split" are both "${held.name}": choose and score the ranks on different splits`,
    );
  }
  const { precision, classifier, values, ...scale } = await load();
  const { kind, modules } = classifier.layout;
  const costs = modules.map((it) => valuesPerRank(kind, it));
  const largest = training.rank;
  const names = modules.map(({ name }) => peftName(name));
  const least = valuesAt(costs.map(() => 1), costs);
  const given = byModule && names.map((name) => byModule.get(name)!);
  const total = given === undefined
    ? Math.floor(averageRank! * least)
    : valuesAt(given, costs);
  const budget = { costs, largest, total };
  const { batchSize } = params;
  using evaluate = evaluator(classifier, { ...scale, batchSize });
  /** Logits for each choice, `[examples, outputs]`, with their loss. */
  const resultsOf = async (
    examples: Required<EncodedExamples>,
    choices: readonly RankPerModule[],
  ) => {
    const results: { logits: Float32Array; loss: number }[] = [];
    const size = examples.labels.length * held.outputs;
    for (let start = 0; start < choices.length; start += CHOICES_PER_PASS) {
      const group = choices.slice(start, start + CHOICES_PER_PASS);
      const all = await evaluate(values, group, examples, { signal });
      for (let from = 0; from < all.length; from += size) {
        const logits = all.subarray(from, from + size);
        const loss = meanLoss(logits, examples.labels, held.outputs);
        results.push({ logits, loss });
      }
    }
    return results;
  };

  const search = async () => {
    const subset = spreadExamples(selection.examples, params.examples);
    const moves = Math.floor(
      (Math.min(total, least * largest) - least) / Math.min(...costs),
    );
    let move = 0;
    const steps = await greedyRanks(budget, async (choices) => {
      const results = await resultsOf(subset, choices);
      stage.progress(move++, moves, "moves");
      return results.map(({ loss }) => loss);
    });
    const start = steps[0]!;
    const { ranks, loss } = bestStep(steps);
    const examples = subset.labels.length;
    stage.log(
      `Ranks ${ranks.join(", ")}: loss ${
        loss.toFixed(4)
      } on ${examples} examples of ${selection.name}, ${
        start.loss.toFixed(4)
      } at rank 1`,
    );
    const found = {
      split: selection.name,
      examples,
      start: start.loss,
      moves: steps.slice(1).map(({ raised, loss }) => ({
        module: names[raised!]!,
        loss,
      })),
    };
    return { ranks, found };
  };
  const { ranks, found } = given === undefined
    ? await search()
    : { ranks: given, found: null };

  // Compared with the largest uniform rank within the budget, and the whole adapter.
  const even = [...new Set([evenRank(budget), largest])];
  const choices = [ranks, ...even.map((rank) => ranks.map(() => rank))];
  const results = await resultsOf(held.examples, choices);
  const [chosen, ...others] = results.map(({ logits, loss }, i) => ({
    parameters: valuesAt(choices[i]!, costs),
    loss,
    metrics: held.score([0], logits)[0]!.metrics,
  }));
  await writeRanks(stage.output, {
    task: info.task,
    method: methodName(training),
    modules: new Map(names.map((name, i) => [name, ranks[i]!])),
    choice: {
      ...trained,
      budget: total,
      selection: found,
      precision,
      split: held.name,
      examples: held.examples.labels.length,
      chosen: chosen!,
      even: even.map((rank, i) => ({ rank, ...others[i]! })),
    },
  });
}

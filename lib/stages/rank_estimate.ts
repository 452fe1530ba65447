import { writeRanks } from "../artifacts/ranks.ts";
import { readFittingTokens, readTokens } from "../artifacts/tokens.ts";
import type { EncodedExamples } from "../data/example.ts";
import {
  parameterLayout,
  type TargetModules,
} from "../engine/models/parameters.ts";
import { peftName } from "../engine/models/peft.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import { hiddenDimensions } from "../ranks/hidden_states.ts";
import { geloraRanks } from "../ranks/intrinsic_dimension.ts";
import { loadFolder, startStageEngine } from "./load_classifier.ts";

/** Estimates a rank for each module of a model by the intrinsic dimensions of its hidden states, without training. */
export async function estimateRanks(
  stage: Stage<
    {
      readonly split: string;
      readonly examples: number;
      readonly maxRank?: number | undefined;
      readonly targetModules?: TargetModules | undefined;
      readonly batchSize: number;
    },
    Readonly<Record<"model" | "tokens", InputArtifact>>
  >,
): Promise<void> {
  const { params, inputs: { model: { path }, tokens }, signal } = stage;
  const { split, maxRank, targetModules, batchSize } = params;
  const info = await readFittingTokens(tokens.path, path);
  const examples = readTokens(tokens.path, info, split);
  const order = distinctExamples(examples, params.examples);
  // Distances of neighbours are small differences of large values.
  await startStageEngine({ ...stage, params: { precision: "f32" } });
  const classifier = loadFolder(path, 1, "head");
  const dimensions = await hiddenDimensions(classifier, examples, order, {
    batchSize,
    signal,
    progress: (done) => stage.progress(done, order.length, "examples"),
  });
  const { model } = classifier;
  const { modules } = parameterLayout(model, 1, { rank: 1, targetModules });
  const names = modules.map(({ name }) => name);
  const ranks = geloraRanks(model, names, dimensions)
    .map((rank) => Math.min(rank, maxRank ?? rank));
  stage.log(
    `Intrinsic dimensions ${
      dimensions.map((it) => it.toFixed(1)).join(", ")
    } of ${order.length} examples of ${split}: ranks ${ranks.join(", ")}`,
  );
  await writeRanks(stage.output, {
    task: info.task,
    modules: new Map(names.map((name, i) => [peftName(name), ranks[i]!])),
    dimensions,
  });
}

/** Numbers of up to so many examples with different tokens, evenly spaced. */
function distinctExamples(
  { ids, offsets, index }: EncodedExamples,
  most: number,
): number[] {
  const byTokens = new Map(
    [...index.keys()].map((i) =>
      [ids.subarray(offsets[i], offsets[i + 1]).join(), i] as const
    ),
  );
  const all = [...byTokens.values()];
  const count = Math.min(most, all.length);
  return Array.from(
    { length: count },
    (_, i) => all[Math.floor(i * all.length / count)]!,
  );
}

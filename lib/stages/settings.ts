import * as z from "zod";
import { ADAPTER_KINDS } from "../engine/adapters/registry.ts";
import type { Divisor } from "../engine/adapters/scale.ts";
import type { InputsOf, Stage } from "../pipeline/task.ts";

const count = z.int().min(1);

type ValuesOf<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>>;

/** Name of a split of the tokens. */
export const split = z.string().regex(/^[a-z_]+$/);

/** Split on which a stage evaluates. */
export const evaluatedSplit = split.default("validation").describe(
  "Split to evaluate on; for MNLI, validation means validation_matched",
);

/** Names of classes in the order of their ids. */
export const classNames = (name: z.ZodString) =>
  z.array(name.min(1)).min(2).refine(
    (names) => new Set(names).size === names.length,
    "Expected distinct names",
  );

/** A text that a function takes; what it throws is the message. */
export const parsedBy = (parse: (text: string) => unknown) =>
  z.string().superRefine((text, context) => {
    try {
      parse(text);
    } catch (error) {
      context.addIssue((error as RangeError).message);
    }
  });

/** Default maximum sequence length: the limit of the published models. */
export const DEFAULT_LENGTH = 512;

/** Requested precision of matrix products. */
const precision = z.enum(["auto", "f32", "bf16"]).default("auto")
  .describe(
    "Precision of matrix products; auto uses bf16 if the CPU or GPU supports it, otherwise f32",
  );

/**
 * Parameters of every training. Defaults are those of the DyLoRA paper's
 * appendix (arXiv 2210.07558).
 */
export const classifierSettings = {
  epochs: count.default(30).describe("Passes over the training set"),
  batchSize: count.default(32).describe(
    "Examples per forward and backward pass",
  ),
  accumulation: count.default(1).describe(
    "Gradient accumulation: passes per optimizer step",
  ),
  padding: z.enum(["longest", "maxLength"]).default("longest").describe(
    "Length to which a batch is padded: longest = that of its longest example, or the next of a few lengths, with batches formed by length; maxLength = the tokens' maxLength, with batches formed at random",
  ),
  learningRate: z.number().positive().max(1).default(4e-4).describe(
    "Peak learning rate, reached after warm-up and decayed linearly to 0",
  ),
  warmupRatio: z.number().min(0).max(1).default(0.06)
    .describe("Fraction of the steps over which the learning rate warms up"),
  weightDecay: z.number().min(0).max(1).default(0.1).describe(
    "Weight decay of AdamW",
  ),
  clipNorm: z.number().positive().default(1).describe(
    "Maximum global norm of the gradient",
  ),
  dropout: z.boolean().default(true).describe(
    "Apply the dropout rates of the model's configuration",
  ),
  classWeights: z.enum(["none", "balanced"]).default("none").describe(
    "Weights of the classes in the loss: balanced gives rare classes more, as scikit-learn does, examples / (classes * examples of the class)",
  ),
  symmetric: z.boolean().default(false).describe(
    "Of texts that belong together, find in the loss also the first text of each second one, and take the mean of both directions",
  ),
  seed: z.int().min(0).max(2 ** 31 - 1).default(0).describe(
    "Seed of initialization, shuffling, drawn ranks and dropout",
  ),
  selectOn: split.default("none").describe(
    "Split on which every epoch is scored at all ranks, such as validation, to save the best epoch beside the last one; none saves only the last one",
  ),
  precision,
};

/** Modules as PEFT names them. */
export const modulesToTake = z.union([
  z.array(z.string().regex(/^[\w.-]+$/)).min(1),
  z.literal("all-linear"),
]).optional();

/** Parameters of every training of adapters. */
export const trainingSettings = {
  adapter: z.enum(ADAPTER_KINDS).optional().describe(
    "Kind of adapter; default: that of the input start, otherwise lora",
  ),
  rank: count.max(1024).optional().describe(
    "LoRA rank; for DyLoRA and Matryoshka, the largest one; default: that of the input start, otherwise 8",
  ),
  alpha: z.number().positive().optional().describe(
    "LoRA alpha; the scale is alpha / rank; default: that of the input start, otherwise 16",
  ),
  useRslora: z.boolean().optional().describe(
    "Scale of rsLoRA, as in PEFT: alpha / sqrt(rank), and alpha / sqrt(b) where it is alpha / b otherwise; default: as the input start, otherwise false",
  ),
  loraDropout: z.number().min(0).lt(1).optional().describe(
    "Rate of the dropout of the input of each LoRA, as PEFT's lora_dropout, besides the dropout of the model; default: that of the input start, otherwise 0",
  ),
  targetModules: modulesToTake.describe(
    "Modules that carry adapters, as in PEFT: name suffixes, or all-linear; default: those of the input start, otherwise those of PEFT for the model, such as [query, value]",
  ),
  ...classifierSettings,
  startHead: z.enum(["new", "kept"]).default("new").describe(
    "Head of a training that continues from the input start: new, for any task, or kept, for the same classes",
  ),
};

const probability = z.number().gt(0).lt(1);

/**
 * Probability from which a label is predicted, of texts that may have several.
 */
export const threshold = probability.optional().describe(
  "Of texts that may have several labels, the probability from which one is predicted; default 0.5",
);

/** The same, where labels are known. */
export const scoredThreshold = z.union([probability, z.literal("best")])
  .nullish().describe(
    "Of texts that may have several labels, the probability from which one is predicted; best: the one of 0.05, 0.10 and so on by which the examples that are scored have the highest score, which is then somewhat too high; default 0.5",
  );

/** Values of {@linkcode scoredThreshold}. */
export type ScoredThreshold = z.output<typeof scoredThreshold>;

/** Parameters of tasks that run a trained adapter or model. */
export const usageSettings = {
  batchSize: z.int().min(1).default(32).describe("Examples per forward pass"),
  epoch: z.enum(["last", "best"]).default("last").describe(
    "Epoch of the training to use; best requires a training with selectOn",
  ),
  precision,
};

/** Values of {@linkcode usageSettings}. */
export type UsageSettings = ValuesOf<typeof usageSettings>;

/** Default of the date of chat templates. */
export const TEMPLATE_DATE = "2024-07-26";

/** The date of chat templates. */
export const templateDate = z.iso.date().default(TEMPLATE_DATE).describe(
  "Date that strftime_now gives in the chat template of the model; the default is the one that Llama 3's template has without a clock. The same for training and writing",
);

/** How texts are written, as transformers' `generate()` does. */
export const writingSettings = {
  beams: count.max(64).default(1).describe(
    "Texts that are followed at a time; 1 takes the most probable token each time",
  ),
  lengthPenalty: z.number().min(-10).max(10).default(1).describe(
    "With several beams, exponent of the length by which the log-probability of a text is divided; higher values favour long texts",
  ),
  maxTokens: count.default(128).describe("Maximum tokens of a text"),
  date: templateDate,
};

/** Values of {@linkcode writingSettings}. */
export type WritingSettings = ValuesOf<typeof writingSettings>;

/** Ranks of an adapter to use. */
export const ranksToUse = z.union([
  z.array(z.int().min(1)).min(1).readonly(),
  z.enum(["all", "powers"]),
]);

/** Values of {@linkcode ranksToUse}. */
export type RankChoice = z.output<typeof ranksToUse>;

/** Ranks of an adapter to score. */
export const ranksToScore = z.union([
  ...ranksToUse.options,
  z.literal("recommended"),
]);

/** Values of {@linkcode ranksToScore}. */
export type ScoredRanks = z.output<typeof ranksToScore>;

/** What a stage of every training gets. */
export type TrainingStage = Stage<
  ValuesOf<typeof classifierSettings>,
  InputsOf<typeof TRAINING_INPUTS>
>;

export const TRAINING_INPUTS = {
  model: { kind: "model" },
  tokens: { kind: "tokens" },
} as const;

/** Inputs of tasks that run an adapter on tokens. */
export const ADAPTER_INPUTS = {
  ...TRAINING_INPUTS,
  adapter: { kind: "adapter" },
} as const;

/** The report that recommends the rank to score. */
export const REPORT_INPUT = {
  report: { kind: "report", optional: true },
} as const;

/** What a stage of a training of adapters gets. */
export type AdapterTrainingStage = Stage<
  ValuesOf<typeof trainingSettings> & { readonly scaling?: Divisor },
  InputsOf<typeof ADAPTER_TRAINING_INPUTS>
>;

export const ADAPTER_TRAINING_INPUTS = {
  ...TRAINING_INPUTS,
  /** An adapter of the same rank to continue from. */
  start: { kind: "adapter", optional: true },
} as const;

/** Inputs that select the rank at which an adapter is exported or merged. */
export const CUT_INPUTS = {
  adapter: { kind: "adapter" },
  ...REPORT_INPUT,
} as const;

/**
 * Parameters that select the rank at which an adapter is exported or merged.
 */
export const rankToTake = {
  rank: z.union([z.int().min(1), z.literal("recommended")]).optional().describe(
    'Rank to use; "recommended" is the one that the input report recommends, and the default if there is a report; otherwise the default is the rank of the adapter',
  ),
  split: split.optional().describe(
    "Split whose recommendation to use, such as validation_matched, if the report has several",
  ),
  epoch: usageSettings.epoch,
};

/** Values of {@linkcode rankToTake}. */
export type RankSettings = ValuesOf<typeof rankToTake>;

/** Epoch of a training whose adapter is evaluated: the last one, or the one with the best scores. */
type Epoch = "last" | "best";

/** Matrix dimensions that distinguish trainings of the same method: `{ mode: "frozen" }`. */
export type Variant = Readonly<Record<string, string | number>>;

/** One training and its evaluation at one or more ranks: the input of a report. */
export interface Result {
  /** Name of the GLUE task, or of the user's own data. */
  readonly task: string;
  /** Display name of the task: `SST-2`. */
  readonly title: string;
  readonly split: string;
  readonly epoch: Epoch;
  /** `dylora`, `lora`, ... */
  readonly method: string;
  /** Often empty. */
  readonly variant: Variant;
  readonly seed: number;
  /** Id of the stage that made the adapter or model: `train-dylora@mrpc,seed=0`. */
  readonly stage: string;
  /** Class numbers or regression targets, `[examples]`. */
  readonly labels: ArrayLike<number>;
  /** Whether the labels are classes. */
  readonly classes: boolean;
  /** Precision of the evaluation's matrix products. */
  readonly precision: string;
  /** In ascending order of rank; rank 0 is a model without adapters. */
  readonly ranks: readonly RankResult[];
  /** Undefined if the adapter was not trained by this pipeline. */
  readonly training: TrainingCost | undefined;
  /** Undefined for a model without adapters. */
  readonly size: AdapterSize | undefined;
  /** Seconds spent reducing the trained adapter; 0 if it is evaluated as trained. */
  readonly reductionSeconds: number;
  readonly evaluationSeconds: number;
  /** Floating-point operations of the evaluation at all ranks. */
  readonly evaluationFlops: number;
}

/** Number of values in an adapter that is cut to rank b: `perRank * b + others`. */
export interface AdapterSize {
  /** Values in one row of every lora_A and one column of every lora_B. */
  readonly perRank: number;
  /** Values of the classification head. */
  readonly others: number;
}

/** Scores and predictions at one rank. */
export interface RankResult {
  readonly rank: number;
  /** By name, the main metric first; NaN if undefined. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Class numbers or regression outputs, `[examples]`. */
  readonly predictions: ArrayLike<number>;
}

/** Settings of a training and its measured costs. */
export interface TrainingCost {
  /** Rank of the trained adapter; 0 without adapters. */
  readonly rank: number;
  readonly settings: TrainingSettings;
  /** Wall-clock seconds over all attempts. */
  readonly seconds: number;
  /** Median seconds of an optimizer step. */
  readonly stepSeconds: number;
  readonly steps: number;
  /** Examples seen, summed over epochs. */
  readonly examples: number;
  /** Floating-point operations of all matrix products. */
  readonly flops: number;
  /** Mean training loss since the previous entry, at regular steps. */
  readonly losses: readonly { readonly step: number; readonly loss: number }[];
  /** Evaluations that selected the best epoch; undefined if none was selected. */
  readonly selection: {
    /** Split on which every epoch was scored. */
    readonly split: string;
    readonly seconds: number;
    readonly flops: number;
  } | undefined;
}

/** Settings of a training that a report prints. */
interface TrainingSettings {
  readonly epochs: number;
  /** Examples per optimizer step. */
  readonly batchSize: number;
  readonly learningRate: number;
  /** Undefined without adapters. */
  readonly alpha: number | undefined;
  /** Scale at rank b of an adapter that serves several ranks: `alpha / b`. */
  readonly scale: string | undefined;
  /** How the steps drew ranks: `uniformly for each step`; undefined if they drew none. */
  readonly draws: string | undefined;
  readonly precision: string;
  readonly engine: string;
  /** Task whose trained adapter this training started from. */
  readonly start: string | undefined;
}

/** Ranks chosen per module for one trained adapter, and their scores. */
export interface ChoiceResult
  extends Pick<Result, "task" | "title" | "method" | "variant" | "seed"> {
  /** Split on which the choice is scored. */
  readonly split: string;
  readonly epoch: Epoch;
  /** Maximum number of values in all lora_A and lora_B. */
  readonly budget: number;
  /** Rank by module, in the adapter's order. */
  readonly modules: ReadonlyMap<string, number>;
  readonly chosen: ChoiceScore;
  /** Uniform ranks: the largest within the budget first, the full adapter last. */
  readonly even: readonly (ChoiceScore & { readonly rank: number })[];
}

/** Size and scores of an adapter. */
export interface ChoiceScore {
  /** Values in all lora_A and lora_B. */
  readonly parameters: number;
  /** By name, the main metric first; NaN if undefined. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** A training, evaluated at one or more ranks: what reports are made of. */
export interface Result {
  /** Name of the GLUE task, or the user's own name for the data. */
  readonly task: string;
  /** The task's name as GLUE writes it: `SST-2`. */
  readonly title: string;
  readonly split: string;
  /** The epoch whose adapter is evaluated. */
  readonly epoch: Epoch;
  /** How the adapter was made: `dylora`, `lora`. */
  readonly method: string;
  /** What else tells it from others of its method: `{ mode: "frozen" }`; often nothing. */
  readonly variant: Variant;
  readonly seed: number;
  /** Class numbers or scores, `[examples]`. */
  readonly labels: ArrayLike<number>;
  /** Whether the labels are classes. */
  readonly classes: boolean;
  /** In which the evaluation computed products. */
  readonly precision: string;
  /** In ascending order of rank; rank 0 is a model without adapters. */
  readonly ranks: readonly RankResult[];
  /** Undefined if the adapter was not trained here. */
  readonly training: TrainingCost | undefined;
  /** Seconds of making the adapter from the trained one; 0 if it is that. */
  readonly reductionSeconds: number;
  readonly evaluationSeconds: number;
  /** Floating-point operations of the evaluation at all ranks. */
  readonly evaluationFlops: number;
}

/** The last epoch of a training, or the one with the best scores. */
export type Epoch = "last" | "best";

/** Names and values that tell trainings of a method apart. */
export type Variant = Readonly<Record<string, string | number>>;

/** How an adapter does at one rank. */
export interface RankResult {
  readonly rank: number;
  /** By name, the one to judge by first; NaN where one is undefined. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Class numbers or scores, `[examples]`. */
  readonly predictions: ArrayLike<number>;
}

/** How an adapter was trained, and what that cost when it ran. */
export interface TrainingCost {
  /** Rank of the adapter as it was trained; 0 without one. */
  readonly rank: number;
  readonly settings: TrainingSettings;
  /** Wall-clock seconds, over all attempts. */
  readonly seconds: number;
  /** Median seconds of an optimizer step. */
  readonly stepSeconds: number;
  readonly steps: number;
  /** Examples seen in all epochs together. */
  readonly examples: number;
  /** Floating-point operations of all matrix products. */
  readonly flops: number;
  /** The evaluations that chose the best epoch; undefined if none was chosen. */
  readonly selection: SelectionCost | undefined;
}

/** How the best epoch of a training was chosen. */
export interface SelectionCost {
  /** Split that every epoch was scored on. */
  readonly split: string;
  readonly seconds: number;
  readonly flops: number;
}

/** Settings of a training that decide what it costs and reaches. */
export interface TrainingSettings {
  readonly epochs: number;
  /** Examples of an optimizer step. */
  readonly batchSize: number;
  readonly learningRate: number;
  /** Undefined without adapters. */
  readonly alpha: number | undefined;
  /** The scale at rank b, of an adapter that serves several ranks: `alpha / b`. */
  readonly scale: string | undefined;
  readonly precision: string;
  readonly engine: string;
  /** The task from whose training adapters were carried over. */
  readonly start: string | undefined;
}

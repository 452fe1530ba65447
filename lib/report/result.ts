/** An adapter, trained and evaluated at one or more ranks: what reports are made of. */
export interface Result {
  /** Name of the GLUE task, or the user's own name for the data. */
  readonly task: string;
  /** The task's name as GLUE writes it: `SST-2`. */
  readonly title: string;
  readonly split: string;
  /** Candidates are compared with each baseline. */
  readonly role: "candidate" | "baseline";
  /** How the adapter was made: `dylora`, `lora`. */
  readonly method: string;
  /** What else tells it from others of its method: `mode=frozen`; often nothing. */
  readonly variant: string;
  readonly seed: number;
  /** Class numbers or scores, `[examples]`. */
  readonly labels: ArrayLike<number>;
  /** In ascending order of rank. */
  readonly ranks: readonly RankResult[];
  readonly training: TrainingCost;
  readonly evaluationSeconds: number;
}

/** How an adapter does at one rank. */
export interface RankResult {
  readonly rank: number;
  /** By name, the one to judge by first; NaN where one is undefined. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Class numbers or scores, `[examples]`. */
  readonly predictions: ArrayLike<number>;
}

/** What a training cost when it ran. */
export interface TrainingCost {
  /** Wall-clock seconds of the training, over all attempts. */
  readonly seconds: number;
  /** Median seconds of an optimizer step. */
  readonly stepSeconds: number;
  readonly steps: number;
  /** Examples seen in all epochs together. */
  readonly examples: number;
}

/** One example of a task: a sentence, or a pair of them. */
export interface Example {
  /** Number that the source gives it, by which predictions refer to it. */
  readonly index: number;
  readonly text: string;
  /** The second sentence of a pair. */
  readonly pair?: string;
  /** Class number, or score if the task is a regression; absent where the benchmark keeps it secret. */
  readonly label?: number;
}

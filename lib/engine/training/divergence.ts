/** Training ended because the loss is not a number any more. */
export class DivergedError extends Error {
  override readonly name = "DivergedError";

  /** @param step Number of the step, from 0 */
  constructor(step: number, loss: number, learningRate: number) {
    super(
      `The loss of step ${step + 1} is ${loss}: training has diverged. ` +
        `Try a lower learning rate than ${learningRate}, a longer warm-up, or precision "f32"`,
    );
  }
}

/** Which epoch of a training is meant. */
export type Epoch = "last" | "best";

/** The error where the best epoch is asked for and training did not choose one. */
export function noBestEpoch(artifact: string): TypeError {
  return new TypeError(
    `The ${artifact} keeps no best epoch: train it with "selectOn: validation", or take "epoch: last"`,
  );
}

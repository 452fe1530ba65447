import type { ClassifierMethod } from "./method.ts";

/** Training of all weights of the model: the upper bound. */
export const full: ClassifierMethod = {
  name: "full",
  title: "Full fine-tuning",
  role: "bound",
  trains: "all",
  fields: [],
  lowestRank: () => 0,
};

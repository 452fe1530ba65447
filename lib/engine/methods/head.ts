import type { ClassifierMethod } from "./method.ts";

/** Training of the classification head on a frozen encoder: the lower bound. */
export const head: ClassifierMethod = {
  name: "head",
  title: "Head only",
  role: "bound",
  trains: "head",
  fields: [],
  lowestRank: () => 0,
};

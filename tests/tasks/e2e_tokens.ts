import fetchData from "../../tasks/fetch-data.ts";
import tokenize from "../../tasks/tokenize.ts";
import { fixture } from "../engine/reference.ts";
import { runTask } from "./run_task.ts";

/** The tiny texts to write of the fixtures, as `fetch-data` reads them. */
export const E2E = {
  files: {
    train: fixture("tiny-e2e/train.csv"),
    validation: fixture("tiny-e2e/validation.csv"),
  },
  ...{ text: "mr", completion: "ref" },
};

/** The same as artifacts in a folder: the data, and their tokens by a model. */
export async function e2eTokens(folder: string, model: string) {
  const { output: data } = await runTask(fetchData, folder, E2E);
  const { output: tokens } = await runTask(tokenize, folder, {}, {
    data,
    model,
  });
  return { data, tokens };
}

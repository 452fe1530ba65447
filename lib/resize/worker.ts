/// <reference lib="deno.worker" />
import { type Job, ModuleResizer } from "./module_resizer.ts";

/**
 * What a worker answers: the singular values of a module, or why there are
 * none.
 */
export type Answer =
  | { readonly values: Float64Array }
  | { readonly fault: string };

const resizer = new ModuleResizer();

self.onmessage = ({ data }: MessageEvent<Job>) => {
  let answer: Answer;
  try {
    answer = { values: resizer.resize(data) };
  } catch (error) {
    answer = { fault: (error as Error).message };
  }
  self.postMessage(answer);
};

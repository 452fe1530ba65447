import * as z from "zod";
import { PEFT_FILES } from "../lib/peft/adapter.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask } from "../lib/pipeline/task.ts";

const share = z.number().min(0).max(1).optional();
const weight = z.number().default(1);

export default defineTask({
  description:
    "Write a LoRA of any model at a lower rank, by the SVD of each module's update",
  params: z.strictObject({
    source: z.string().min(1).optional().describe(
      "PEFT folder to resize; default: the input adapter",
    ),
    weight: weight.describe("Factor of its update"),
    add: z.array(z.strictObject({ source: z.string().min(1), weight })).default(
      [],
    ).describe("PEFT folders of the same model to add to it"),
    rank: z.int().min(1).optional().describe("Rank of all modules"),
    energy: share.describe(
      "Smallest ranks by module that keep this share of the sum of squared singular values of all modules",
    ),
    error: share.describe(
      "Smallest ranks by module with at most this relative error of the update",
    ),
    budget: z.int().min(1).optional().describe(
      "Best ranks by module within this number of bytes",
    ),
    maxRank: z.int().min(1).optional().describe(
      "Largest rank of a module, with energy, error or budget",
    ),
    dtype: z.enum(["F32", "F16", "BF16"]).optional().describe(
      "Type of the factors; default: that of the source",
    ),
  }).refine(
    (it) =>
      [it.rank, it.energy, it.error, it.budget]
        .filter((way) => way !== undefined).length === 1,
    "Expected one of rank, energy, error and budget",
  ),
  inputs: { adapter: { kind: "peft", optional: true } },
  output: { kind: "peft", files: [...PEFT_FILES, "README.md"] },
  sources({ source, add }): Record<string, string> {
    return Object.fromEntries([
      ...(source === undefined ? [] : [["source", expandHome(source)]]),
      ...add.map(({ source }, i) => [`add.${i}.source`, expandHome(source)]),
    ]);
  },
  small: true,
  async run({ params, inputs: { adapter }, ...stage }) {
    const { source, weight, add, dtype, ...choice } = params;
    const from = source ?? adapter?.path;
    if (from === undefined || source !== undefined && adapter !== undefined) {
      throw new RangeError(
        'Give the parameter "source" or the input "adapter", not both',
      );
    }
    const { resize } = await import("../lib/resize/resize.ts");
    const [resized] = await resize({
      source: from,
      weight,
      added: add,
      dtype,
      choices: new Map([["", choice]]),
    }, {
      output: stage.output,
      threads: 1,
      signal: stage.signal,
      log: stage.log,
      onProgress: (done, total) =>
        stage.progress(Math.floor(100 * done / total), 100, "%"),
    });
    const { energy, error } = resized!.total;
    stage.metric("energy", energy);
    stage.metric("error", error);
  },
});

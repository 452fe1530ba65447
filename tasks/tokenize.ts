import { z } from "zod";
import type { Example } from "../lib/glue/example.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import type { TokenizedSplit } from "../lib/artifacts/tokens.ts";

/** Default maximum sequence length: the limit of the published models. */
const DEFAULT_LENGTH = 512;

export default defineTask({
  description: "Tokenize a data set for a model",
  params: z.strictObject({
    maxLength: z.int().min(8).optional().describe(
      `Maximum sequence length in tokens, special tokens included; default: ${DEFAULT_LENGTH}, or the positions of the model if fewer`,
    ),
    splits: z.array(z.string()).min(1).optional().describe(
      "Splits to tokenize; default: all of the data set",
    ),
  }),
  inputs: { data: { kind: "dataset" }, model: { kind: "model" } },
  output: { kind: "tokens", files: ["tokens.json"] },
  async run({ params, inputs, output, progress, log }) {
    const { ModelTokenizer } = await import(
      "../lib/glue/model_tokenizer.ts"
    );
    const { readDatasetInfo, readExamples } = await import(
      "../lib/artifacts/dataset.ts"
    );
    const { readModel } = await import("../lib/artifacts/model.ts");
    const { tokenizerDefaults } = await import(
      "../lib/engine/models/registry.ts"
    );
    const { writeTokens } = await import("../lib/artifacts/tokens.ts");
    const { tokenizerDigest } = await import("../lib/artifacts/tokenizer.ts");
    const { quoteAll } = await import("../lib/glue/text.ts");
    const data = inputs.data![0]!.path;
    const model = inputs.model![0]!.path;

    const limits = await readModel(model);
    const { maxLength = Math.min(DEFAULT_LENGTH, limits.maxLength) } = params;
    if (maxLength > limits.maxLength) {
      throw new RangeError(
        `"maxLength" is ${maxLength}, but the model has ${limits.maxLength} positions: choose at most ${limits.maxLength}`,
      );
    }
    const tokenizer = await ModelTokenizer.load(
      model,
      tokenizerDefaults(limits.architecture),
      maxLength,
    );
    const info = await readDatasetInfo(data);
    const names = params.splits ?? Object.keys(info.splits);
    const unknown = names.find((name) => !Object.hasOwn(info.splits, name));
    if (unknown !== undefined) {
      throw new RangeError(
        `The data set "${info.task}" has no split "${unknown}"; it has ${
          quoteAll(Object.keys(info.splits))
        }`,
      );
    }
    const splits: Record<string, TokenizedSplit> = {};
    const total = names.reduce((sum, name) => sum + info.splits[name]!, 0);
    let done = 0;
    for (const name of names) {
      const examples = await readExamples(data, info, name);
      const { truncated, ...encoded } = tokenizer.encodeAll(
        examples,
        limits.vocabSize,
        () => {
          if (++done % 256 === 0) progress(done, total, "examples", name);
        },
      );
      splits[name] = { ...encoded, ...numbersOf(examples) };
      const share = (100 * truncated / examples.length).toFixed(1);
      log(
        `${name}: ${examples.length} examples, ${encoded.ids.length} tokens; ${
          truncated === 0 ? "none" : `${truncated} of them (${share} %)`
        } truncated to ${maxLength} tokens`,
      );
    }
    await writeTokens(output, {
      task: info.task,
      labels: info.labels,
      maxLength,
      padId: limits.padId,
      vocabSize: limits.vocabSize,
      tokenizer: await tokenizerDigest(model, limits.architecture),
    }, splits);
  },
});

/** The examples' numbers in their source, and their labels if they have them. */
function numbersOf(
  examples: readonly Example[],
): Pick<TokenizedSplit, "index" | "labels"> {
  const index = Int32Array.from(examples, ({ index }) => index);
  const labels = examples.map(({ label }) => label)
    .filter((label) => label !== undefined);
  if (labels.length !== 0 && labels.length !== examples.length) {
    throw new Error(
      `Only ${labels.length} of ${examples.length} examples have a label`,
    );
  }
  return {
    index,
    ...(labels.length > 0 && { labels: Float32Array.from(labels) }),
  };
}

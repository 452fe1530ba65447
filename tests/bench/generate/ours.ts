/**
 * Our side of `bench generate`: answers the requests of `../peer/generate.py`,
 * one JSON line each. Arguments: folder of the model, folder of the library.
 */
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { startValues } from "../../../lib/engine/models/parameters.ts";
import { withHead } from "../../../lib/engine/models/outline.ts";
import { parseModel } from "../../../lib/engine/models/registry.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { startEngine } from "../../../lib/engine/start.ts";
import { generator } from "../../../lib/engine/training/generation.ts";
import { peakBytes } from "../step/training.ts";

const [folder, library] = Deno.args as [string, string];
const rank = 8;

/** The generator of the last request, by it: one at a time is in memory. */
let last: { key: string; generate: ReturnType<typeof generator> } | undefined;
let loaded: ReturnType<typeof loadModel> | undefined;

function loadModel() {
  const config = Deno.readTextFileSync(join(folder, "config.json"));
  const model = withHead(parseModel(config), "language");
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const classifier = loadClassifier(file, model, 1, { rank });
  return { classifier, values: startValues(file, classifier, 0) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...request } = JSON.parse(line);
  if (op === "prepare") {
    await startEngine(
      { engine: "tensorflow", device: "cpu", library, bfloat16: true },
      { cpus: request.threads, precision: request.precision },
    );
    loaded = loadModel();
    console.log(JSON.stringify({ trained: loaded.values.length }));
    continue;
  }
  const { classifier, values } = loaded!;
  const { prompts, length, tokens, beams } = request;
  const key = JSON.stringify(request);
  if (last?.key !== key) {
    last?.generate[Symbol.dispose]();
    last = {
      key,
      generate: generator(classifier, {
        ...{ alpha: 16, scaling: "rank", lengthPenalty: 1, ends: [] },
        ...{ beams, maxTokens: tokens, batchSize: prompts },
      }),
    };
  }
  const random = seededRandom(0, "tokens");
  const texts = Array.from(
    { length: prompts },
    () =>
      Array.from(
        { length },
        () => 5 + Math.floor(random.next() * (classifier.model.vocabSize - 5)),
      ),
  );
  const begin = performance.now();
  await last.generate(values, [rank], texts);
  const seconds = [(performance.now() - begin) / 1000];
  console.log(JSON.stringify({ seconds, peak_bytes: peakBytes() }));
}

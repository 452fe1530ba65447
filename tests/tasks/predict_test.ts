import assert from "node:assert/strict";
import { join } from "node:path";
import { TextWriter, Uint8ArrayReader, ZipReader } from "@zip.js/zip.js";
import { selectEngine } from "../../lib/engine/library/select.ts";
import { predictionsOf } from "../../lib/glue/predictions.ts";
import { readPredictions } from "../../tasks/artifacts/predictions.ts";
import { readOutputs, readScores } from "../../tasks/artifacts/scores.ts";
import { runSandboxed, type SandboxOptions } from "./run_sandboxed.ts";
import { withFolder } from "./run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

Deno.test("predict gives the classes that evaluate-ranks scored, and test sets that pack-submission packs", () =>
  withFolder(async (folder) => {
    const { engine, device, library, ...choice } = await selectEngine(
      "tensorflow",
    );
    await choice.prepare();
    const settings = { engine, device, library: library! };
    const facilities = {
      engine: { ...choice, settings, prepare: () => Promise.resolve() },
    };
    const run = async (
      task: string,
      params: Readonly<Record<string, unknown>>,
      inputs: NonNullable<SandboxOptions["inputs"]> = {},
    ) => {
      const options = { inputs, facilities };
      const result = await runSandboxed(task, folder, params, options);
      assert.equal(result.code, 0, result.text);
      return result.output;
    };

    const model = join(fixtures, "tiny-roberta");
    const source = join(fixtures, "tiny-glue");
    const limit = { train: 64, validation: 32 };
    const data = await run("fetch-glue", { task: "rte", source, limit });
    const tokens = await run("tokenize", {}, { model, data });
    const training = { rank: 2, epochs: 1, learningRate: 1e-2 };
    const adapter = await run("train-dylora", training, { model, tokens });
    const given = { model, tokens, adapter };

    const scored = await run("evaluate-ranks", {}, given);
    const info = await readScores(scored);
    const { logits } = readOutputs(scored, info);
    for (const [i, { rank }] of info.ranks.entries()) {
      const options = { split: "validation", rank };
      const predicted = await run("predict", options, given);
      const { predictions } = await readPredictions(predicted);
      const size = info.examples * 2;
      assert.deepEqual(
        predictions,
        predictionsOf(logits.subarray(i * size, (i + 1) * size), 2),
      );
    }

    const predictions = [await run("predict", {}, given)];
    const { split, rank, examples } = await readPredictions(predictions[0]!);
    assert.deepEqual([split, rank], ["test", 2]);
    const refused = await runSandboxed("pack-submission", folder, {}, {
      inputs: { predictions },
    });
    assert.match(refused.text, /RTE.tsv.* has \d+ examples, expected 3000/);
    assert.equal(refused.code, 1);
    const packed = await run("pack-submission", { partial: true }, {
      predictions,
    });
    const zip = await Deno.readFile(join(packed, "submission.zip"));
    const reader = new ZipReader(new Uint8ArrayReader(zip), {
      useWebWorkers: false,
    });
    const [entry] = await reader.getEntries();
    assert(entry && !entry.directory && entry.filename === "RTE.tsv");
    const lines = (await entry.getData(new TextWriter())).trimEnd().split("\n");
    assert.equal(lines.length, 1 + examples);
    assert(
      lines.slice(1).every((line) => /^\d+\t(not_)?entailment$/.test(line)),
    );
    await reader.close();
  }));

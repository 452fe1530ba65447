import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
} from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readClassifierTraining } from "../../lib/artifacts/classifier.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { readTokensInfo } from "../../lib/artifacts/tokens.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { assertClose } from "../engine/reference.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";

const python = Deno.env.get("PEFT_PYTHON");
const training = { epochs: 2, learningRate: 1e-3 };

for (
  const [task, method, trained] of [
    ["train-head", "head", /^classifier\./],
    ["train-full", "full", /./],
  ] as const
) {
  Deno.test(`${task} trains only its own weights, and evaluate-model scores them at rank 0`, () =>
    withEngineStages(async ({ run, sandboxed, given }) => {
      const model = await run(task, training, given);
      const record = await readClassifierTraining(model);
      assertEquals(record.method, method);
      assert(record.losses.at(-1)!.loss > 0);
      const tokens = await readTokensInfo(given.tokens);
      assertEquals(record.maxLength, tokens.maxLength);
      const config = JSON.parse(
        await Deno.readTextFile(join(model, "tokenizer_config.json")),
      );
      assertEquals(config.model_max_length, tokens.maxLength);

      using before = SafetensorsFile.open(
        join(given.model, "model.safetensors"),
      );
      using after = SafetensorsFile.open(join(model, "model.safetensors"));
      for (const name of after.tensors.keys()) {
        const same = before.tensors.has(name) &&
          String(before.floats(name)) === String(after.floats(name));
        // A row that no example looks up still decays.
        assertEquals(same, !trained.test(name), name);
      }

      const inputs = { ...given, model };
      const { code, text, output: scored } = await sandboxed(
        "evaluate-model",
        {},
        inputs,
      );
      assertEquals(code, 0, text);
      const info = await readScores(scored);
      assertEquals(info.provenance.trained, method);
      assertEquals(info.precision, record.precision);
      assertEquals(info.ranks.map(({ rank }) => rank), [0]);
      assert(info.ranks[0]!.metrics.accuracy! >= 0);

      const { logits } = readOutputs(scored);
      assert(new Set(logits).size > info.examples, "logits differ");
      if (python === undefined) return;
      const expected = await transformersLogits(
        model,
        join(given.tokens, "validation.safetensors"),
      );
      assertEquals(Object.values(expected.labels), info.labels);
      assertClose(logits, expected.logits.flat(), 1e-4, "logits");
    }));
}

for (const [task, tolerance] of [["train-head", 0], ["train-full", 1]]) {
  Deno.test(`${task} saves the best epoch beside the last, and evaluate-model scores both as recorded`, () =>
    withEngineStages(async ({ run, attempt, sandboxed, given }) => {
      const params = { epochs: 3, learningRate: 1e-3, batchSize: 8 };
      const { output: selected, code, text } = await sandboxed(
        task as string,
        { ...params, selectOn: "validation" },
        given,
      );
      assertEquals(code, 0, text);
      assertMatch(text, /validation: accuracy \d\.\d{4}"/);
      assertMatch(text, /lr \S+ {2}\d+ ms\/step/);
      const { selection, ...record } = await readClassifierTraining(selected);
      const { epochs, best, examples } = selection!;
      assertEquals(epochs.map(({ step }) => step), [8, 16, 24]);
      const highest = Math.max(...epochs.map(({ score }) => score));
      assertEquals(best, epochs.find(({ score }) => score === highest)!.epoch);
      for (const [epoch, number] of [["last", 3], ["best", best]] as const) {
        const scored = await run("evaluate-model", { epoch }, {
          ...given,
          model: selected,
        });
        const info = await readScores(scored);
        assertEquals(info.epoch, epoch);
        // All weights are evaluated in training by the plain operations, and
        // frozen by the fused ones, between which a logit's last bits differ.
        const [found, recorded] = [info.ranks, epochs[number - 1]!.ranks].map(
          ([one]) => one!.metrics.accuracy! * examples,
        );
        assertAlmostEquals(found!, recorded!, (tolerance as number) + 1e-9);
        assertEquals(selection!.flops, epochs.length * info.flops);
      }

      const plain = await run(task as string, params, given);
      assertEquals(await readClassifierTraining(plain), {
        ...record,
        selection: null,
      });
      const weights = (folder: string) =>
        Deno.readFile(join(folder, "model.safetensors"));
      assertEquals(await weights(plain), await weights(selected));
      const refused = await attempt("evaluate-model", { epoch: "best" }, {
        ...given,
        model: plain,
      });
      assertEquals(refused.code, 1);
      assertMatch(
        refused.text,
        /The model has no best epoch: train it with .*selectOn: validation/,
      );
    }));
}

Deno.test("evaluate-model rejects tokens with other classes", () =>
  withEngineStages(async ({ folder, run, attempt, given }) => {
    const model = await run("train-head", training, given);
    const tokens = await Deno.makeTempDir({ dir: folder });
    for await (const { name } of Deno.readDir(given.tokens)) {
      await Deno.copyFile(join(given.tokens, name), join(tokens, name));
    }
    const path = join(tokens, "tokens.json");
    const info = JSON.parse(await Deno.readTextFile(path));
    info.labels.push("neither");
    await Deno.writeTextFile(path, JSON.stringify(info));
    const refused = await attempt("evaluate-model", {}, { model, tokens });
    assertEquals(refused.code, 1);
    assertMatch(
      refused.text,
      /trained for .*rte.* with the classes entailment, not_entailment, but the tokens are for .*, neither: connect tokens/,
    );
  }));

async function transformersLogits(
  model: string,
  split: string,
): Promise<{ labels: Record<string, string>; logits: number[][] }> {
  const script = fileURLToPath(
    new URL("./transformers_logits.py", import.meta.url),
  );
  const { code, stdout, stderr } = await new Deno.Command(python!, {
    args: [script, model, split],
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/**
 * Predictions of an exported adapter for real sentences, beside those of PEFT
 * and transformers with their own tokens.
 */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { readDatasetInfo } from "../../lib/artifacts/dataset.ts";
import { readOutputs } from "../../lib/artifacts/scores.ts";
import { problemOf } from "../../lib/problems/registry.ts";
import { readTable } from "../../lib/data/table.ts";
import { assertClose } from "../engine/reference.ts";
import { withEngineStages } from "./engine_stages.ts";
import { randomAdapterFolder } from "./random_adapter.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");
const MINILM = Deno.env.get("DYLORA_MINILM");
const ENTITIES = Deno.env.get("DYLORA_ENTITIES");
const SENTENCES = 200;

Deno.test({
  name:
    "AutoPeftModelForTokenClassification has the predictions of evaluate-ranks for the words of 200 sentences of WNUT-17",
  ignore: [PYTHON, MINILM, ENTITIES].includes(undefined),
  fn: () =>
    withEngineStages(async ({ folder, run }) => {
      const test = await Deno.readTextFile(
        join(ENTITIES!, "wnut17_test.conll"),
      );
      const train = join(folder, "some.conll");
      await Deno.writeTextFile(
        train,
        test.split(/\n\s*\n/).slice(0, SENTENCES).join("\n\n"),
      );
      const model = MINILM!;
      const columns = { text: "tokens", label: "tags" };
      const data = await run("fetch-data", { files: { train }, ...columns });
      const { labels } = await readDatasetInfo(data);
      const tokens = await run("tokenize", {}, { data, model });
      const adapter = await randomAdapterFolder(folder, model, {
        problem: "tokens",
        labels,
      });
      const given = { model, adapter };
      const exported = await run("export-adapter", {
        ...{ rank: 2, baseModel: model },
      }, given);
      const scores = await run("evaluate-ranks", {
        ...{ ranks: [2], split: "train", precision: "f32" },
      }, { ...given, tokens });
      const { logits, words } = readOutputs(scores);

      const rows = await readTable(train, ["tokens"]);
      const request = await Deno.makeTempFile({ dir: folder });
      await Deno.writeTextFile(
        request,
        JSON.stringify({
          folder: exported,
          labels: labels!.length,
          sentences: rows.map(({ values }) => values[0]),
        }),
      );
      const { code, stdout, stderr } = await new Deno.Command(PYTHON!, {
        args: [join(import.meta.dirname!, "token_logits.py"), request],
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      const expected: (number[] | null)[][] = JSON.parse(
        new TextDecoder().decode(stdout),
      );
      assertEquals(expected.length, SENTENCES);
      const read = expected.map((sentence) =>
        sentence.flatMap((it, word) => it === null ? [] : [word])
      );
      assertEquals(Array.from(words!.numbers), read.flat());
      const peft = Float32Array.from(
        expected.flat(2).filter((it) => it !== null),
      );
      assertClose(logits, peft, 1e-4, "logits");
      const { predictions } = problemOf({ problem: "tokens", labels });
      assertEquals(predictions(logits), predictions(peft));
    }, MINILM),
});

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { parse } from "@std/yaml";
import { join } from "node:path";
import { rankScale } from "../../lib/engine/adapters/scale.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { modulesOf } from "../../lib/peft/names.ts";
import type { Training } from "../../lib/artifacts/training.ts";
import evaluateRanks from "../../tasks/evaluate-ranks.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import merge from "../../tasks/merge.ts";
import predict from "../../tasks/predict.ts";
import {
  REFERENCE_LORA,
  REFERENCE_TRAINING,
  referenceAdapter,
  referenceTensors,
  referenceTraining,
} from "./reference_adapter.ts";
import { writeAdapter } from "../../lib/peft/adapter.ts";
import type { Comparison } from "../../lib/report/report.ts";
import { classifierFolder } from "./classifier_folder.ts";
import { runTask, withFolder } from "./run_task.ts";
import { TrainedStages } from "./trained_stages.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");
const MODEL = join(fixtures, "tiny-roberta");

const TRUNCATED: Training = {
  ...REFERENCE_LORA,
  reducedBy: "truncation",
};
const MODULES = modulesOf(Object.keys(referenceTensors("roberta")));

Deno.test("export-adapter copies the files of PEFT byte for byte at the adapter's own rank", () =>
  withFolder(async (folder) => {
    for (const family of ["roberta", "bert"]) {
      const adapter = await referenceAdapter(
        folder,
        REFERENCE_TRAINING,
        family,
      );
      const { output } = await runTask(exportAdapter, folder, {}, { adapter });
      for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
        assertEquals(
          await Deno.readFile(join(output, file)),
          await Deno.readFile(join(adapter, file)),
        );
      }
      const card = await Deno.readTextFile(join(output, "README.md"));
      assertMatch(card, new RegExp(`^base_model: org/tiny-${family}$`, "m"));
    }
  }));

Deno.test("export-adapter names a base model that transformers finds: of the hub, the user's, or for a command the folder of its input", () =>
  withFolder(async (folder) => {
    const take = async (
      name: string | undefined,
      params: { readonly baseModel?: string } = {},
      inputs: Record<string, string> = {},
      isStage = false,
    ) => {
      const adapter = await Deno.makeTempDir({ dir: folder });
      await writeAdapter(adapter, {
        baseModel: name === undefined ? undefined : { name, revision: "abc" },
        training: REFERENCE_TRAINING,
        tensors: referenceTensors("roberta"),
      });
      const artifacts = { adapter, ...inputs };
      const { output } = await runTask(
        exportAdapter,
        folder,
        params,
        artifacts,
        isStage
          ? {
            inputs: Object.fromEntries(
              Object.entries(artifacts).map(([name, path]) => [
                name,
                [{ stage: name, matrix: {}, path }],
              ]),
            ),
          }
          : {},
      );
      const config = JSON.parse(
        await Deno.readTextFile(join(output, "adapter_config.json")),
      );
      const card = await Deno.readTextFile(join(output, "README.md"));
      return {
        named: [config.base_model_name_or_path, config.revision],
        card,
      };
    };
    const model = MODEL;
    const cases = [
      [await take("org/name"), ["org/name", "abc"]],
      [await take("org/name", {}, { model }), ["org/name", "abc"]],
      [await take("pypi:tiny==0.1.0", {}, { model }), [model, null]],
      [await take(undefined, {}, { model }), [model, null]],
      [await take("tiny", { baseModel: "../x" }, { model }), ["../x", null]],
    ] as const;
    for (const [{ named, card }, expected] of cases) {
      assertEquals(named, [...expected]);
      assertMatch(
        card,
        /^model = AutoPeftModelForSequenceClassification.from_pretrained\(\n {4}folder,\n {4}id2label=\{0: "LABEL_0", 1: "LABEL_1"\},\n\)$/m,
      );
    }
    // The result of a stage is used in any folder, so it names none.
    for (
      const { named, card } of [
        await take("pypi:tiny==0.1.0"),
        await take("pypi:tiny==0.1.0", {}, { model }, true),
      ]
    ) {
      assertEquals(named, ["pypi:tiny==0.1.0", "abc"]);
      assertMatch(card, /^ {4}"the folder of the model pypi:tiny/m);
      assertMatch(card, /PeftModel.from_pretrained\(base, folder\)/);
    }
  }));

Deno.test("export-adapter gives code that loads a base model with a head for other classes", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    for (const outputs of [1, 2, 3]) {
      const model = classifierFolder(folder, MODEL, outputs);
      const { output } = await runTask(exportAdapter, folder, {}, {
        adapter,
        model,
      });
      const card = await Deno.readTextFile(join(output, "README.md"));
      assertEquals(
        card.includes("    ignore_mismatched_sizes=True,"),
        outputs !== 2,
      );
    }
  }));

Deno.test("export-adapter copies the tokenizer of its model", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const given = await runTask(exportAdapter, folder, {}, {
      adapter,
      model: MODEL,
    });
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      assertEquals(
        await Deno.readTextFile(join(given.output, name)),
        await Deno.readTextFile(join(MODEL, name)),
      );
    }
  }));

Deno.test("export-adapter and merge write the length of the training into the tokenizer's configuration", () =>
  withFolder(async (folder) => {
    const read = (path: string) => JSON.parse(Deno.readTextFileSync(path));
    const name = "tokenizer_config.json";
    const adapter = await referenceAdapter(folder, {
      ...REFERENCE_TRAINING,
      maxLength: 24,
    });
    for (const task of [exportAdapter, merge]) {
      const { output } = await runTask(task, folder, {}, {
        adapter,
        model: MODEL,
      });
      assertEquals(read(join(output, name)), {
        ...read(join(MODEL, name)),
        model_max_length: 24,
      });
    }
  }));

for (
  const name of [
    ...["bert", "roberta", "xlm-roberta", "camembert", "distilbert"],
    ...["electra", "mpnet", "modernbert", "deberta", "albert"],
  ]
) {
  Deno.test(`export-adapter names the class of a tokenizer whose configuration does not, ${name}`, () =>
    withFolder(async (folder) => {
      const own = join(fixtures, `tiny-${name}`);
      const read = (path: string) => JSON.parse(Deno.readTextFileSync(path));
      const model = join(folder, "model");
      Deno.mkdirSync(model);
      for (
        const file of ["tokenizer.json", "config.json", "model.safetensors"]
      ) {
        Deno.copyFileSync(join(own, file), join(model, file));
      }
      // As those of bert-base-uncased and roberta-base.
      Deno.writeTextFileSync(
        join(model, "tokenizer_config.json"),
        '{"model_max_length": 64}',
      );
      const adapter = await referenceAdapter(folder, REFERENCE_TRAINING, name);
      const exported = async () => {
        const { output } = await runTask(exportAdapter, folder, {}, {
          adapter,
          model,
        });
        return read(join(output, "tokenizer_config.json"));
      };
      const { tokenizer_class } = read(join(own, "tokenizer_config.json"));
      assertEquals(await exported(), { model_max_length: 64, tokenizer_class });
      const config = read(join(model, "config.json"));
      Deno.writeTextFileSync(
        join(model, "config.json"),
        JSON.stringify({ ...config, tokenizer_class: "OtherTokenizer" }),
      );
      // Transformers reads the tokenizer of any ModernBERT by the base class.
      assertEquals(
        (await exported()).tokenizer_class,
        name === "modernbert" ? "PreTrainedTokenizerFast" : "OtherTokenizer",
      );
    }));
}

Deno.test("export-adapter and merge name the token types that the class of a tokenizer does not give by itself, and leave the rest as it is written", () =>
  withFolder(async (folder) => {
    const own = join(fixtures, "tiny-bert");
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING, "bert");
    const length = '"model_max_length": 1000000000000000019884624838656';
    const names = ["input_ids", "token_type_ids", "attention_mask"];
    for (
      const [config, expected] of [
        ['{ "tokenizer_class": "PreTrainedTokenizerFast", ', names],
        ['{ "tokenizer_class": "TokenizersBackend", ', names],
        ['{ "model_input_names": ["input_ids"], ', ["input_ids"]],
        ['{ "tokenizer_class": "BertTokenizer", ', undefined],
      ] as const
    ) {
      const model = Deno.makeTempDirSync({ dir: folder });
      for (
        const file of ["tokenizer.json", "config.json", "model.safetensors"]
      ) {
        Deno.copyFileSync(join(own, file), join(model, file));
      }
      const file = "tokenizer_config.json";
      Deno.writeTextFileSync(join(model, file), `${config}${length}}`);
      for (const task of [exportAdapter, merge]) {
        const { output } = await runTask(task, folder, {}, { adapter, model });
        const text = Deno.readTextFileSync(join(output, file));
        assertEquals(JSON.parse(text).model_input_names, expected);
        assert(text.includes(length), text);
      }
    }
  }));

Deno.test("export-adapter takes the recommended rank by default, and writes a model card with the report's scores and figure", () =>
  withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    for (const seed of [0, 1]) await stages.train("dylora", [1, 2, 4], seed);
    const { json, folder: report } = await stages.report();
    const [{ methods, verdict }] = json.comparisons as [Comparison];
    const rank = methods[0]!.recommendation!.rank;
    const adapter = await referenceAdapter(folder, {
      ...REFERENCE_TRAINING,
      task: "mrpc",
      labels: ["not_equivalent", "equivalent"],
    });
    const { output } = await runTask(
      exportAdapter,
      folder,
      {},
      { adapter, report },
    );
    assertEquals((await readConfig(output)).r, rank);
    const card = Deno.readTextFileSync(join(output, "README.md"));
    const [, head] = /^---\n([^]*?)^---$/m.exec(card)!;
    const { accuracy, f1 } = methods[0]!.ranks.find((it) =>
      it.rank === rank
    )!.metrics;
    assertEquals(parse(head!), {
      library_name: "peft",
      pipeline_tag: "text-classification",
      base_model: "org/tiny-roberta",
      datasets: ["nyu-mll/glue"],
      language: ["en"],
      metrics: ["accuracy", "f1"],
      tags: ["lora", "text-classification", "dylora"],
      "model-index": [{
        name: "DyLoRA for MRPC",
        results: [{
          task: { type: "text-classification", name: "Text Classification" },
          dataset: {
            name: "MRPC",
            type: "nyu-mll/glue",
            config: "mrpc",
            split: "validation",
          },
          metrics: [
            { type: "accuracy", name: "accuracy", value: accuracy!.mean },
            { type: "f1", name: "f1", value: f1!.mean },
          ],
        }],
      }],
    });
    assertMatch(
      card,
      /^accuracy, %: \d+\.\d \[\d+\.\d, \d+\.\d\]; F1 of "equivalent", %: \d+\.\d on the 60 examples of the split validation \(last epoch, mean over seeds 0, 1\)\. Brackets are a 95 % interval/m,
    );
    // Brackets are escaped.
    assert(card.replaceAll("\\", "").includes(`**${verdict!.headline}**`));
    assertMatch(card, /^!\[Scores by rank\]\(scores-by-rank\.svg\)$/m);
    const [, figure] = /\((scores-by-rank\..*)\)/.exec(card)!;
    assertEquals(
      Deno.readFileSync(join(output, figure!)),
      Deno.readFileSync(join(report, `mrpc-validation${figure!.slice(-4)}`)),
    );
    assertMatch(card, /^\| Learning rate \| 0\.01 \|$/m);
    assertMatch(
      card,
      /^\| Ranks drawn \| geometrically \(p = 0\.15\) for each step \|$/m,
    );
    assertMatch(card, /^\| Scale at rank b \| alpha \/ b \|$/m);
    assertEquals(
      JSON.parse(Deno.readTextFileSync(join(output, "classes.json"))),
      {
        task: "mrpc",
        problem: "classification",
        labels: ["not_equivalent", "equivalent"],
        maxLength: null,
      },
    );
  }));

Deno.test("export-adapter cuts every module to the rank and keeps the scale of the engine", () =>
  withFolder(async (folder) => {
    const whole = referenceTensors("roberta");
    for (const training of [REFERENCE_TRAINING, TRUNCATED]) {
      const adapter = await referenceAdapter(folder, training);
      for (const rank of [1, 2, 3, 4]) {
        const { output } = await runTask(exportAdapter, folder, { rank }, {
          adapter,
        });
        const { lora_alpha, r } = await readConfig(output);
        using file = SafetensorsFile.open(
          join(output, "adapter_model.safetensors"),
        );
        for (const module of MODULES) {
          const prefix = `base_model.model.roberta.encoder.${module}`;
          const nameA = `${prefix}.lora_A.weight`;
          const nameB = `${prefix}.lora_B.weight`;
          const [a, b] = [file.floats(nameA), file.floats(nameB)];
          assertEquals(file.tensors.get(nameA)!.shape, [rank, 64]);
          assertEquals(file.tensors.get(nameB)!.shape, [64, rank]);
          for (let k = 0; k < rank; k++) {
            for (let i = 0; i < 64; i++) {
              assertEquals(a[k * 64 + i], whole[nameA]!.values[k * 64 + i]);
              assertEquals(b[i * rank + k], whole[nameB]!.values[i * 4 + k]);
            }
          }
        }
        assertEquals(r, rank);
        const [expected] = rankScale(rank, training);
        assertEquals(Math.fround(lora_alpha / r), expected);
      }
    }
  }));

Deno.test("export-adapter rejects ranks that the adapter does not have", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const take = (
      params: Parameters<typeof exportAdapter.params.parse>[0] & object,
    ) => runTask(exportAdapter, folder, params, { adapter });
    await assertRejects(
      () => take({ rank: 5 }),
      Error,
      "Rank 5 exceeds the adapter's rank 4",
    );
    await assertRejects(
      () => take({ rank: "recommended" }),
      Error,
      'requires the input "report": connect a stage of the task',
    );
    await assertRejects(
      () => take({ epoch: "best" }),
      Error,
      "has no best epoch",
    );
  }));

Deno.test("export-adapter, merge, predict and evaluate-ranks reject ranks that the adapter does not serve", () =>
  withFolder(async (folder) => {
    const high = referenceTraining({
      sampler: { kind: "list", ranks: [3, 4] },
    });
    const inputs = { model: MODEL, tokens: folder };
    const takes = {
      exported: (adapter: string) =>
        runTask(exportAdapter, folder, { rank: 1 }, { adapter }),
      merged: (adapter: string) =>
        runTask(merge, folder, { rank: 1 }, { adapter, model: MODEL }),
      predicted: (adapter: string) =>
        runTask(predict, folder, { rank: 1 }, { adapter, ...inputs }),
      evaluated: (adapter: string) =>
        runTask(evaluateRanks, folder, { ranks: [1] }, {
          adapter,
          ...inputs,
        }),
    };
    const [ofLora, ofHigh] = [
      await referenceAdapter(folder, REFERENCE_LORA),
      await referenceAdapter(folder, high),
    ];
    for (const take of Object.values(takes)) {
      await assertRejects(
        () => take(ofLora),
        RangeError,
        "The adapter is a LoRA that serves rank 4 only, not rank 1: reduce it",
      );
      await assertRejects(
        () => take(ofHigh),
        RangeError,
        "Rank 1 was not trained: the adapter serves ranks 3 to 4",
      );
    }
  }));

async function readConfig(folder: string) {
  return JSON.parse(
    await Deno.readTextFile(join(folder, "adapter_config.json")),
  ) as {
    r: number;
    lora_alpha: number;
  };
}

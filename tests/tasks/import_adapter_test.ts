import {
  assertAlmostEquals,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import {
  type TensorValues,
  writeSafetensors,
} from "../../lib/engine/safetensors/writer.ts";
import type { AdapterTensors } from "../../lib/engine/adapters/adapter.ts";
import { cutAdapter } from "../../lib/engine/adapters/registry.ts";
import { scaleAt } from "../../lib/engine/adapters/scale.ts";
import { readAdapter } from "../../lib/peft/adapter.ts";
import { modulesOf, PEFT_PREFIX } from "../../lib/peft/names.ts";
import { MODEL_FILES, writeModelOrigin } from "../../lib/artifacts/model.ts";
import { digestOf } from "../../lib/artifacts/json_file.ts";
import { writeTokens } from "../../lib/artifacts/tokens.ts";
import { ranksInWords, servedRanks } from "../../lib/artifacts/training.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import importAdapter from "../../tasks/import-adapter.ts";
import reduceAdapter from "../../tasks/reduce-adapter.ts";
import { peftFolder } from "./peft_folder.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
  referenceTensors,
} from "./reference_adapter.ts";
import { runTask, withFolder } from "./run_task.ts";
import { assertSameBits } from "../engine/reference.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

Deno.test("import-adapter reads what export-adapter wrote at any rank, byte for byte", () =>
  withFolder(async (folder) => {
    for (
      const [family, targetModules] of [
        ["roberta", ["query", "value"]],
        ["bert", ["query", "value"]],
        ["llama", ["q_proj", "v_proj"]],
      ] as const
    ) {
      const model = join(fixtures, `tiny-${family}`);
      const labels = ["negative", "positive"];
      const adapter = await referenceAdapter(
        folder,
        { ...REFERENCE_TRAINING, labels, targetModules, maxLength: 64 },
        family,
      );
      for (const rank of [1, 2, 3, 4]) {
        const exported = await runTask(exportAdapter, folder, { rank }, {
          adapter,
        });
        const imported = await runTask(importAdapter, folder, {
          source: exported.output,
          method: "dylora",
          task: "sst2",
          labels,
        }, { model });
        const { training, baseModel } = await readAdapter(imported.output);
        assertEquals(training, {
          method: { name: "dylora" },
          imported: true,
          reducedBy: null,
          task: "sst2",
          problem: "classification",
          labels,
          rank,
          alpha: 8,
          scaling: "rank",
          targetModules,
          maxLength: 64,
          seed: 0,
          selection: null,
        });
        assertEquals(baseModel!.name, `org/tiny-${family}`);
        assertEquals(servedRanks(training).length, rank);
        const again = await runTask(exportAdapter, folder, {}, {
          adapter: imported.output,
        });
        for (const file of exportAdapter.output.files) {
          // The model card of an imported adapter cannot say how it was
          // trained.
          if (file === "README.md") continue;
          assertEquals(
            await Deno.readFile(join(again.output, file)),
            await Deno.readFile(join(exported.output, file)),
          );
        }
      }
    }
  }));

Deno.test("import-adapter reads a rank per module and keeps every bit at these ranks", () =>
  withFolder(async (folder) => {
    const model = join(fixtures, "tiny-roberta");
    const whole = referenceTensors("roberta");
    const names = modulesOf(Object.keys(whole));
    // Ranks 1, 2, 4: scales alpha / b of 8, 4, 2, each a power of two of the
    // others.
    const ranks = new Map(names.map((name, i) => [name, [1, 4, 2, 1][i]!]));
    const rankOf = (name: string) => ranks.get(modulesOf([name])[0] ?? "");
    const cut = Object.entries(whole).reduce<AdapterTensors>(
      (all, [name, tensor]) => ({
        ...all,
        ...cutAdapter({ [name]: tensor }, rankOf(name) ?? 4),
      }),
      {},
    );
    for (const sameScale of [false, true]) {
      const source = await peftFolder(folder, {
        rank_pattern: Object.fromEntries(ranks),
        ...sameScale && {
          alpha_pattern: Object.fromEntries(
            [...ranks].map(([name, rank]) => [name, 2 * rank]),
          ),
        },
      }, cut);
      const imported = await runTask(importAdapter, folder, { source }, {
        model,
      });
      const { training, tensors } = await readAdapter(imported.output);
      assertEquals(training.rank, 4);
      assertEquals(training.alpha, 8);
      for (const [name, { shape, values }] of Object.entries(tensors)) {
        const rank = rankOf(name);
        assertEquals(shape, whole[name]!.shape);
        const isA = name.includes(".lora_A.");
        const factor = rank === undefined || isA || sameScale ? 1 : 4 / rank;
        values.forEach((value, i) => {
          const row = isA ? Math.floor(i / 64) : i % 4;
          const kept = rank === undefined || row < rank;
          assertEquals(value, kept ? whole[name]!.values[i]! * factor : 0);
        });
      }
    }
  }));

Deno.test("import-adapter adds the model's pooler if the adapter of a BERT has none", () =>
  withFolder(async (folder) => {
    const own = referenceTensors("bert");
    const tensors = Object.fromEntries(
      Object.entries(own).filter(([name]) => !name.includes("pooler")),
    );
    const source = await peftFolder(folder, {}, tensors);
    const { output } = await runTask(importAdapter, folder, { source }, {
      model: join(fixtures, "tiny-bert"),
    });
    const imported = await readAdapter(output);
    // The reference was made with the pooler of its model.
    assertSameBits(imported.tensors, own);
    assertEquals(imported.training.labels, ["LABEL_0", "LABEL_1"]);
    assertEquals(servedRanks(imported.training), [4]);
  }));

Deno.test("import-adapter adds the model's pooler if the adapter of a DeBERTa has none, as PEFT saves it by default", () =>
  withFolder(async (folder) => {
    const own = referenceTensors("deberta");
    const isOfPooler = (name: string) => name.includes(".pooler.");
    const all = Object.entries(own);
    const source = await peftFolder(
      folder,
      { target_modules: ["value_proj", "query_proj"] },
      Object.fromEntries(all.filter(([name]) => !isOfPooler(name))),
    );
    // A DeBERTa for NLI is saved with the pooler of its classifier.
    const model = join(folder, "model");
    await Deno.mkdir(model);
    const tiny = join(fixtures, "tiny-deberta");
    for (const name of MODEL_FILES) {
      await Deno.copyFile(join(tiny, name), join(model, name));
    }
    using file = SafetensorsFile.open(join(tiny, "model.safetensors"));
    const pretrained = [...file.tensors].map((
      [name, { shape }],
    ) => [name, { shape, values: file.floats(name) }] as const);
    const pooler = all.filter(([name]) => isOfPooler(name))
      .map(([name, tensor]) => [name.slice(PEFT_PREFIX.length), tensor]);
    assertEquals(pooler.length, 2);
    writeSafetensors(
      join(model, "model.safetensors"),
      Object.fromEntries([...pretrained, ...pooler]),
    );
    const { output } = await runTask(importAdapter, folder, { source }, {
      model,
    });
    assertSameBits((await readAdapter(output)).tensors, own);
    await assertRejects(
      () => runTask(importAdapter, folder, { source }, { model: tiny }),
      SyntaxError,
      'Neither the adapter nor the model has "pooler.dense.weight", which was new when the adapter was trained; train LoRA in every layer, with modules_to_save=["classifier","pooler"]',
    );
  }));

Deno.test("import-adapter says how to train if neither the adapter nor the model of a BERT has a pooler", () =>
  withFolder(async (folder) => {
    const model = join(folder, "model");
    await Deno.mkdir(model);
    for (const name of MODEL_FILES) {
      await Deno.copyFile(join(fixtures, "tiny-bert", name), join(model, name));
    }
    const weights = join(model, "model.safetensors");
    const bytes = await Deno.readFile(weights);
    const text = new TextDecoder("latin1").decode(bytes);
    bytes[text.indexOf("pooler.dense.weight")] = "x".charCodeAt(0);
    await Deno.writeFile(weights, bytes);
    const tensors = Object.fromEntries(
      Object.entries(referenceTensors("bert"))
        .filter(([name]) => !name.includes("pooler")),
    );
    const source = await peftFolder(folder, {}, tensors);
    await assertRejects(
      () => runTask(importAdapter, folder, { source }, { model }),
      SyntaxError,
      'Neither the adapter nor the model has "bert.pooler.dense.weight", which was new when the adapter was trained; train LoRA in every layer, with modules_to_save=["classifier","pooler"]',
    );
  }));

Deno.test("import-adapter adds LoRA on BERT's pooler to its weight, as all-linear of PEFT trains it", () =>
  withFolder(async (folder) => {
    const own = referenceTensors("bert");
    const pooler = "base_model.model.bert.pooler.dense";
    const { [`${pooler}.weight`]: weight, [`${pooler}.bias`]: _, ...others } =
      own;
    const [outputs, inputs] = weight!.shape as [number, number];
    // B A is 1.5 in row 2, column 3.
    const a = new Float32Array(4 * inputs);
    const b = new Float32Array(outputs * 4);
    a[1 * inputs + 3] = 0.5;
    b[2 * 4 + 1] = 3;
    const tensors = {
      ...others,
      [`${pooler}.lora_A.weight`]: { shape: [4, inputs], values: a },
      [`${pooler}.lora_B.weight`]: { shape: [outputs, 4], values: b },
    };
    const adapted = ["query", "value"].flatMap((name) =>
      [0, 1].map((i) => `bert.encoder.layer.${i}.attention.self.${name}`)
    );
    const source = await peftFolder(folder, {
      target_modules: [...adapted, "bert.pooler.dense"],
      alpha_pattern: { "pooler.dense": 16 },
    }, tensors);
    const { output } = await runTask(importAdapter, folder, { source }, {
      model: join(fixtures, "tiny-bert"),
    });
    const imported = await readAdapter(output);
    const expected = Float32Array.from(weight!.values);
    expected[2 * inputs + 3]! += 1.5 * 16 / 4;
    assertSameBits(imported.tensors, {
      ...own,
      [`${pooler}.weight`]: { shape: weight!.shape, values: expected },
    });
    assertEquals(imported.training.targetModules, [
      "attention.self.query",
      "attention.self.value",
    ]);
  }));

Deno.test("import-adapter takes the target modules from the tensors where PEFT's configuration lists others", () =>
  withFolder(async (folder) => {
    const whole = referenceTensors("roberta");
    const layers = ["query", "value"].flatMap((name) =>
      [0, 1].map((i) => `roberta.encoder.layer.${i}.attention.self.${name}`)
    );
    const cases: [string[], Record<string, TensorValues>, string[]][] = [
      // As all-linear of PEFT lists them, with the head, which is saved whole.
      [
        [...layers, "classifier.dense", "classifier.out_proj"],
        whole,
        ["attention.self.query", "attention.self.value"],
      ],
      // With exclude_modules=["value"].
      [
        ["query", "value"],
        without(whole, /value\.lora/),
        ["attention.self.query"],
      ],
      [["value", "query"], whole, ["value", "query"]],
    ];
    const model = join(fixtures, "tiny-roberta");
    for (const [target_modules, tensors, expected] of cases) {
      const source = await peftFolder(folder, { target_modules }, tensors);
      const { output } = await runTask(importAdapter, folder, { source }, {
        model,
      });
      const { training } = await readAdapter(output);
      assertEquals(training.targetModules, expected);
    }
  }));

Deno.test("import-adapter says if the adapter names another base model than it is given", () =>
  withFolder(async (folder) => {
    const model = join(folder, "model");
    await Deno.mkdir(model);
    for (const file of MODEL_FILES) {
      await Deno.copyFile(
        join(fixtures, "tiny-roberta", file),
        join(model, file),
      );
    }
    const name = "org/roberta-large";
    await writeModelOrigin(model, { name, revision: null });
    for (
      const [theirs, isNamed] of [
        ["org/roberta-base", true],
        ["other/roberta-large", false],
        ["roberta-base", true],
        ["out/mine/model", false],
        [null, false],
      ] as const
    ) {
      const source = await peftFolder(folder, {
        base_model_name_or_path: theirs,
      });
      const { log } = await runTask(importAdapter, folder, { source }, {
        model,
      });
      const text = `names "${theirs}" as its base model, but the model is`;
      assertEquals(log.some((line) => line.includes(text)), isNamed);
    }
  }));

Deno.test("import-adapter keeps rsLoRA's alpha and scale, and export-adapter writes them at any rank", () =>
  withFolder(async (folder) => {
    const source = await peftFolder(folder, { use_rslora: true });
    const model = join(fixtures, "tiny-roberta");
    for (
      const [method, atTwo] of [
        ["lora", [8 / Math.sqrt(4), "alpha / sqrt(R)"]],
        ["dylora", [8 / Math.sqrt(2), "alpha / sqrt(b)"]],
      ] satisfies ["lora" | "dylora", [number, string]][]
    ) {
      const imported = await runTask(
        importAdapter,
        folder,
        { source, method },
        { model },
      );
      const { training } = await readAdapter(imported.output);
      assertEquals([training.alpha, training.rank], [8, 4]);
      assertEquals(scaleAt(4, training), 8 / Math.sqrt(4));
      const adapter = method === "dylora"
        ? imported.output
        : (await runTask(reduceAdapter, folder, { by: "truncation" }, {
          adapter: imported.output,
        })).output;
      const record = (await readAdapter(adapter)).training;
      assertEquals([scaleAt(2, record), ranksInWords(record).scale], atTwo);
      const { output } = await runTask(exportAdapter, folder, { rank: 2 }, {
        adapter,
      });
      const config = JSON.parse(
        await Deno.readTextFile(join(output, "adapter_config.json")),
      );
      assertEquals([config.r, config.use_rslora], [2, true]);
      assertAlmostEquals(config.lora_alpha / Math.sqrt(2), atTwo[0], 1e-12);
    }
  }));

Deno.test("import-adapter checks task and classes against those of the tokens", () =>
  withFolder(async (folder) => {
    const source = await peftFolder(folder, {});
    const model = join(fixtures, "tiny-roberta");
    const take = async (
      params: Readonly<Record<string, unknown>>,
      labels: string[] | null = ["negative", "positive"],
    ) => {
      const tokens = await tokensOf(folder, { task: "sst2", labels });
      const { output } = await runTask(
        importAdapter,
        folder,
        { source, ...params },
        { model, tokens },
      );
      const { training } = await readAdapter(output);
      return [training.task, training.labels];
    };
    const ours = ["sst2", ["negative", "positive"]];
    assertEquals(await take({}), ours);
    assertEquals(
      await take({ task: "sst2", labels: ["negative", "positive"] }),
      ours,
    );
    // Classes without names go by their number.
    assertEquals(
      await take({ labels: ["negative", "positive"] }, ["LABEL_0", "LABEL_1"]),
      ours,
    );
    await assertRejects(
      () => take({ labels: ["positive", "negative"] }),
      Error,
      'trained for "sst2" with the classes positive, negative, but the tokens are for "sst2" with the classes negative, positive: connect tokens',
    );
    await assertRejects(
      () => take({ task: "imdb" }),
      Error,
      '"task" is "imdb", but the tokens are for "sst2": connect tokens for "imdb", or remove "task"',
    );
    await assertRejects(
      () => take({ labels: ["a", "b"] }, null),
      Error,
      'has 2 outputs, but the tokens for "sst2" require 1',
    );
  }));

Deno.test("import-adapter refuses tokens of another kind of problem if the head has as many outputs", () =>
  withFolder(async (folder) => {
    const model = join(fixtures, "tiny-llama");
    const target_modules = ["q_proj", "v_proj"];
    const name = `${PEFT_PREFIX}score.weight`;
    const { [name]: score, ...layers } = referenceTensors("llama");
    const { shape: [, width = 0], values } = score!;
    const first = { shape: [1, width], values: values.slice(0, width) };
    for (
      const [task_type, tensors, problem, message] of [
        [
          "CAUSAL_LM",
          layers,
          "regression",
          'for texts of "mine", but the tokens are for the regression "mine"',
        ],
        [
          "SEQ_CLS",
          { ...layers, [name]: first },
          "language",
          'for the regression "mine", but the tokens are for texts of "mine"',
        ],
      ] as const
    ) {
      const given = { task_type, target_modules };
      const source = await peftFolder(folder, given, tensors);
      const labelled = { task: "mine", problem, labels: null };
      const tokens = await tokensOf(folder, labelled);
      await assertRejects(
        () => runTask(importAdapter, folder, { source }, { model, tokens }),
        Error,
        message,
      );
    }
  }));

Deno.test("import-adapter takes task and classes from an adapter exported here, and refuses others", () =>
  withFolder(async (folder) => {
    const model = join(fixtures, "tiny-roberta");
    const known = { task: "mine", labels: ["negative", "positive"] };
    const { output: source } = await runTask(exportAdapter, folder, {}, {
      adapter: await referenceAdapter(folder, {
        ...REFERENCE_TRAINING,
        ...known,
      }),
    });
    const take = async (
      params: Readonly<Record<string, unknown>>,
      tokens?: { readonly task: string; readonly labels: string[] },
    ) => {
      const { output } = await runTask(
        importAdapter,
        folder,
        { source, ...params },
        { model, ...(tokens && { tokens: await tokensOf(folder, tokens) }) },
      );
      const { training: { task, labels } } = await readAdapter(output);
      return { task, labels };
    };
    const other = { ...known, task: "other" };
    const numbered = ["LABEL_0", "LABEL_1"];
    for (
      const [params, tokens, expected] of [
        [{}, undefined, known],
        [known, known, known],
        [{}, other, other],
        [{ labels: numbered }, { ...other, labels: numbered }, other],
      ] as const
    ) {
      assertEquals(
        await take(params, tokens && { ...tokens, labels: [...tokens.labels] }),
        expected,
      );
    }
    const swapped = ["positive", "negative"];
    for (
      const [params, tokens, message] of [
        [
          { labels: swapped },
          undefined,
          `"labels" names positive, negative, but "classes.json" of "${source}" is for "mine" with the classes negative, positive: remove "labels"`,
        ],
        [
          { task: "other" },
          undefined,
          `"task" is "other", but "classes.json" of "${source}" names "mine": connect tokens for "other", or remove "task"`,
        ],
        [
          {},
          { task: "other", labels: swapped },
          'trained for "mine" with the classes negative, positive, but the tokens are for "other" with the classes positive, negative',
        ],
      ] as const
    ) {
      await assertRejects(
        () => take(params, tokens && { ...tokens }),
        Error,
        message,
      );
    }
    const { output: unnamed } = await runTask(exportAdapter, folder, {}, {
      adapter: (await runTask(importAdapter, folder, {
        source: await peftFolder(folder, {}),
      }, { model })).output,
    });
    assertEquals(await take({ source: unnamed, ...known }), known);
    Deno.writeTextFileSync(
      join(source, "classes.json"),
      JSON.stringify({
        task: "mine",
        problem: "classification",
        labels: ["a", "b", "c"],
      }),
    );
    await assertRejects(
      () => take({}),
      SyntaxError,
      `"${source}" has 2 outputs, but "classes.json" names 3: correct or remove it`,
    );
  }));

Deno.test("import-adapter keeps how answers and words are read from an adapter exported here", () =>
  withFolder(async (folder) => {
    const words = { before: "", between: "-", behind: "" };
    const tags = { task: "mine", problem: "tokens", labels: ["O", "B-X"] };
    const chat = { task: "mine", problem: "language", labels: null };
    const tensorsOf = (family: string, isLeft: RegExp) =>
      Object.fromEntries(
        Object.entries(referenceTensors(family))
          .filter(([name]) => !isLeft.test(name))
          .map(([name, it]) => [name.replace(".out_proj", ""), it]),
      );
    for (
      const [family, task_type, isLeft, record, params] of [
        ["llama", "CAUSAL_LM", /score/, { ...chat, isChat: true }, {}],
        ["roberta", "TOKEN_CLS", /dense/, { ...tags, words }, {}],
        ["roberta", "TOKEN_CLS", /dense/, { ...tags, words }, {
          labels: tags.labels,
        }],
      ] as const
    ) {
      const tensors = tensorsOf(family, isLeft);
      const target_modules = family === "llama"
        ? ["q_proj", "v_proj"]
        : ["query", "value"];
      const source = await peftFolder(
        folder,
        { task_type, target_modules },
        tensors,
      );
      const path = join(source, "classes.json");
      await Deno.writeTextFile(path, JSON.stringify(record));
      const model = join(fixtures, `tiny-${family}`);
      const { output } = await runTask(
        importAdapter,
        folder,
        { source, ...params },
        { model },
      );
      const { training } = await readAdapter(output);
      assertEquals({ ...training, ...record }, training);
    }
  }));

Deno.test("import-adapter says what it cannot import and why", () =>
  withFolder(async (folder) => {
    const whole = referenceTensors("roberta");
    const name = "base_model.model.roberta.encoder.layer.0.attention.self";
    const key = whole[`${name}.query.lora_A.weight`]!;
    const tensors: [Record<string, TensorValues>, RegExp][] = [
      [
        { ...whole, [`${name}.key.lora_A.weight`]: key },
        /tensor "base_model.*key.lora_B.weight" is missing/,
      ],
      [
        {
          ...whole,
          [`${name}.key.lora_A.weight`]: key,
          [`${name}.key.lora_B.weight`]: whole[`${name}.query.lora_B.weight`]!,
        },
        /module "attention.self.key" has LoRA tensors in 1 of 2 layers; train LoRA in every layer, with modules_to_save=\["classifier"\] and no other trained weights/,
      ],
      [
        without(whole, /layer\.1\./),
        /it has 1 layers, and the model has 2; connect the model on which it was trained, with LoRA in every layer/,
      ],
      [
        without(whole, /classifier/),
        /it has no classification head; train LoRA in every layer, with modules_to_save=\["classifier"\]/,
      ],
      [
        without(whole, /layer.1.*value.lora_B/),
        /cannot be imported: tensor "base_model.*layer.1.*value.lora_B.weight" is missing/,
      ],
      [
        without(whole, /lora_/),
        /cannot be imported: it has no LoRA tensors/,
      ],
      [
        { ...whole, "base_model.model.lm_head.weight": key },
        /tensor "base_model.model.lm_head.weight" is not part of a roberta adapter; train LoRA in every layer, with modules_to_save=\["classifier"\]/,
      ],
    ];
    const attempt = (
      source: string,
      params: Readonly<Record<string, unknown>> = {},
      model = "tiny-roberta",
    ) =>
      runTask(importAdapter, folder, { source, ...params }, {
        model: join(fixtures, model),
      });
    for (const [given, message] of tensors) {
      assertIsError(
        await assertRejects(async () =>
          attempt(await peftFolder(folder, {}, given))
        ),
        Error,
        message,
      );
    }
    const fine = await peftFolder(folder, {});
    await assertRejects(
      () => attempt(fine, { labels: ["a", "a"] }),
      Error,
      "Expected distinct names",
    );
    await assertRejects(
      () => attempt(fine, { labels: ["a", "b", "c"] }),
      Error,
      'has 2 outputs, but "labels" names 3 classes',
    );
    await assertRejects(
      () => attempt(fine, {}, "tiny-bert"),
      Error,
      'does not fit the model: the model, a bert, has no module "roberta.encoder.layer.0.attention.self.query"',
    );
    // ModernBERT and Llama name their encoder alike.
    const modernbert = await peftFolder(
      folder,
      { target_modules: ["Wqkv"] },
      without(referenceTensors("modernbert"), /layers\.[23]|head|classifier/),
    );
    await assertRejects(
      () => attempt(modernbert, {}, "tiny-llama"),
      Error,
      'the model, a llama, has no module "model.layers.0.attn.Wqkv"',
    );
    const llama = await peftFolder(
      folder,
      { target_modules: ["q_proj", "v_proj"] },
      without(referenceTensors("llama"), /score/),
    );
    await assertRejects(
      () => attempt(llama, {}, "tiny-llama"),
      Error,
      'it has no classification head; train LoRA in every layer, with modules_to_save=["score"]',
    );
    await assertRejects(
      () => attempt(join(fixtures, "tiny-bert")),
      Error,
      'has no "adapter_config.json": give a folder written by save_pretrained',
    );
    const named = await Deno.makeTempDir({ dir: folder });
    await Deno.rename(fine, join(named, "sst2"));
    await assertRejects(
      () => attempt(named),
      Error,
      "or the one in it that is called as the adapter",
    );
    await Deno.rename(join(named, "sst2"), fine);
    await Deno.remove(join(fine, "adapter_model.safetensors"));
    await assertRejects(() => attempt(fine), Error, "save the adapter again");
  }));

function without(
  tensors: Record<string, TensorValues>,
  name: RegExp,
): Record<string, TensorValues> {
  return Object.fromEntries(
    Object.entries(tensors).filter(([other]) => !name.test(other)),
  );
}

/** Tokens of a task without splits. */
async function tokensOf(
  folder: string,
  known: { readonly task: string; readonly labels: string[] | null },
): Promise<string> {
  const tokens = await Deno.makeTempDir({ dir: folder });
  const model = join(fixtures, "tiny-roberta");
  const tokenizer = await digestOf(join(model, "tokenizer.json"));
  const sizes = { maxLength: 8, vocabSize: 9 };
  const info = {
    problem: known.labels === null ? "regression" : "classification",
    ...known,
    metrics: ["accuracy" as const],
    tokenizer,
    ...sizes,
  };
  await writeTokens(tokens, info, {});
  return tokens;
}

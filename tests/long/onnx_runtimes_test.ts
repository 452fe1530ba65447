/**
 * Models in ONNX by onnxruntime-web in Deno and in Chromium, and MiniLM by
 * onnxruntime in Python as well, beside PEFT.
 */
import { assertEquals } from "@std/assert";
import * as ort from "onnxruntime-web/wasm";
import { join } from "node:path";
import { readModel } from "../../lib/artifacts/model.ts";
import type { Model } from "../../lib/engine/models/model.ts";
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";
import { inputsAt, readAdapter } from "../../lib/serve/adapter.ts";
import { openFolder } from "../../lib/serve/folder.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import exportOnnx from "../../tasks/export-onnx.ts";
import {
  assertClose,
  openReference,
  referenceNames,
} from "../engine/reference.ts";
import { type Feed, ONNX_PYTHON, onnxruntimeLogits } from "../onnx/peer.ts";
import {
  referenceCases,
  TOLERANCE,
  writeServed,
} from "../onnx/reference_cases.ts";
import { chromiumLogits, denoLogits, webgpuLogits } from "../onnx/web.ts";
import { chromiumMissing } from "../report/chromium.ts";
import { PeftProcess } from "../tasks/peft_process.ts";
import { randomAdapterFolder } from "../tasks/random_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const PEFT_PYTHON = Deno.env.get("PEFT_PYTHON");
const MINILM = Deno.env.get("DYLORA_MINILM");
const missing = chromiumMissing();
const suffix = missing === undefined ? "" : ` (skipped: ${missing})`;

for (
  const [where, logitsOf, names] of [
    ["Deno", denoLogits, referenceNames],
    ["Chromium", chromiumLogits, referenceNames],
    // Ten seconds each: shaders are compiled for the processor.
    ["Chromium by WebGPU", webgpuLogits, ["bert", "llama"]],
  ] as const
) {
  const isSkipped = where !== "Deno" && missing !== undefined;
  Deno.test({
    name: `onnxruntime-web in ${where} gives the logits of PEFT for ${
      names === referenceNames ? "every architecture" : names.join(" and ")
    }, at every adapter, rank, batch and length${isSkipped ? suffix : ""}`,
    ignore: isSkipped,
    fn: () =>
      withFolder(async (folder) => {
        const models = names.map((name) => {
          const reference = openReference(name);
          const path = join(folder, `${name}.onnx`);
          writeServed(path, reference);
          const cases = referenceCases(reference);
          return { name, path, cases, feeds: cases.map(({ feed }) => feed) };
        });
        const logits = await logitsOf(models);
        for (const [i, { name, cases }] of models.entries()) {
          for (const [j, { what, expected }] of cases.entries()) {
            const found = logits[i]![j]!;
            assertClose(found, expected, TOLERANCE, `${name}, ${what}`);
          }
        }
      }),
  });
}

async function tokenizerOf({ architecture, maxLength }: Model) {
  const defaults = tokenizerDefaults(architecture);
  return await ModelTokenizer.load(MINILM!, defaults, maxLength);
}

/**
 * Exports an adapter of MiniLM: in ONNX, and for PEFT at each of some ranks.
 *
 * @returns Path of the ONNX file, inputs of the adapter by rank, and folders of
 * the exports for PEFT.
 */
async function exportsOf(
  folder: string,
  adapter: string,
  ranks: readonly number[],
) {
  const inputs = { model: MINILM!, adapter };
  const { output } = await runTask(exportOnnx, folder, {}, inputs);
  const adapters: string[] = [];
  for (const rank of ranks) {
    const exported = await runTask(exportAdapter, folder, { rank }, inputs);
    adapters.push(exported.output);
  }
  const path = join(output, "model.onnx");
  return { path, inputs: await adapterInputs(output, path), adapters };
}

const RANKS = [1, 2, 3, 4, 5, 6, 7, 8];
/** Of 3 to 512 tokens, with special ones. */
const TEXTS = [
  ["!"],
  ["It rained, and nobody came to see it."],
  ["Who wrote it?", "It was written by a friend of the band, years ago."],
  ["A film that stays. ".repeat(4)],
  ["word ".repeat(600)],
];

Deno.test({
  name:
    `MiniLM as export-onnx writes it has the logits of PEFT at every rank, padded and alone, in Python, Deno and Chromium${suffix}`,
  ignore: [PEFT_PYTHON, ONNX_PYTHON, MINILM].includes(undefined) ||
    missing !== undefined,
  fn: () =>
    withFolder(async (folder) => {
      const model = readModel(MINILM!);
      const training = { rank: 8, alpha: 16 };
      const adapter = await randomAdapterFolder(folder, MINILM!, training);
      const tokenizer = await tokenizerOf(model);
      const rows = TEXTS.map(([text, pair]) => tokenizer.encode(text!, pair));
      const { path, inputs, adapters } = await exportsOf(
        folder,
        adapter,
        RANKS,
      );
      const short = rows.slice(0, -1);
      const padded = await peftLogits(folder, adapters, short);
      const long = rows.slice(-1);
      const ofLong = await peftLogits(folder, [adapters[2]!], long);
      const runs = [
        ...RANKS.map((rank, i) => ({
          what: `rank ${rank}`,
          ...{ rank, batch: short, expected: padded[i]! },
        })),
        ...short.map((row, i) => ({
          what: `text ${i} alone`,
          ...{ rank: 3, batch: [row] },
          expected: padded[2]!.slice(2 * i, 2 * i + 2),
        })),
        {
          what: `${long[0]!.ids.length} tokens`,
          ...{ rank: 3, batch: long, expected: ofLong[0]! },
        },
      ];
      const feeds = runs.map(({ batch, rank }) => ({
        ...feedOf(batch, model.padId),
        ...inputsAt(inputs, rank),
      }));
      const models = [{ path, feeds }];
      const [python] = await onnxruntimeLogits(models);
      const [deno] = await denoLogits(models);
      const [chromium] = await chromiumLogits(models);
      for (const [i, { what, expected }] of runs.entries()) {
        for (const [by, logits] of Object.entries({ python, deno, chromium })) {
          assertClose(logits![i]!, expected, TOLERANCE, `${by}, ${what}`);
        }
      }
    }),
});

Deno.test({
  name:
    `MiniLM with a head for tokens as export-onnx writes it has the logits of PEFT at three ranks in Python, Deno and Chromium${suffix}`,
  ignore: [PEFT_PYTHON, ONNX_PYTHON, MINILM].includes(undefined) ||
    missing !== undefined,
  fn: () =>
    withFolder(async (folder) => {
      const model = readModel(MINILM!);
      const labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];
      const adapter = await randomAdapterFolder(folder, MINILM!, {
        problem: "tokens",
        labels,
        rank: 8,
        alpha: 16,
      });
      const tokenizer = await tokenizerOf(model);
      const rows = TEXTS.slice(0, 4).map(([text]) => tokenizer.encode(text!));
      const ranks = [1, 3, 8];
      const { path, inputs, adapters } = await exportsOf(
        folder,
        adapter,
        ranks,
      );
      const expected = await peftLogits(folder, adapters, rows, labels.length);
      const feed = feedOf(rows, model.padId);
      const feeds = ranks.map((rank) => ({
        ...feed,
        ...inputsAt(inputs, rank),
      }));
      const models = [{ path, feeds }];
      const [python] = await onnxruntimeLogits(models);
      const [deno] = await denoLogits(models);
      const [chromium] = await chromiumLogits(models);
      // Padding has no logits that mean anything.
      const shown = (logits: readonly number[]) =>
        logits.filter((_, i) =>
          feed.attention_mask!.values[Math.floor(i / labels.length)] === 1
        );
      for (const [i, rank] of ranks.entries()) {
        for (const [by, logits] of Object.entries({ python, deno, chromium })) {
          assertEquals(logits![i]!.length, expected[i]!.length);
          assertClose(
            shown(logits![i]!),
            shown(expected[i]!),
            TOLERANCE,
            `${by}, rank ${rank}`,
          );
        }
      }
    }),
});

/** The adapter of an export as lib/serve reads it. */
async function adapterInputs(folder: string, path: string) {
  const session = await ort.InferenceSession.create(await Deno.readFile(path));
  const opened = openFolder(folder);
  const { weights } = await opened.json<{ weights: string }>("model.json");
  const model = { weights, url: folder };
  const adapter = await readAdapter(opened, session.inputMetadata, model);
  await session.release();
  return adapter;
}

/** Token ids and types of a text. */
type Row = ReturnType<ModelTokenizer["encode"]>;

/** A padded batch. */
function feedOf(rows: readonly Row[], padId: number): Feed {
  const length = Math.max(...rows.map(({ ids }) => ids.length));
  const shape = [rows.length, length];
  const padded = (valuesOf: (row: Row) => ArrayLike<number>, pad: number) => ({
    shape,
    values: Int32Array.from(rows.flatMap((row) => {
      const values = Array.from(valuesOf(row));
      return [...values, ...Array<number>(length - values.length).fill(pad)];
    })),
  });
  return {
    input_ids: padded(({ ids }) => ids, padId),
    token_type_ids: padded(({ types }) => types, 0),
    attention_mask: padded(({ ids }) => Array.from(ids, () => 1), 0),
  };
}

/**
 * PEFT's logits of a padded batch, by each adapter, flat.
 *
 * @param ofTokens Number of the labels of tokens, if these have some
 */
async function peftLogits(
  folder: string,
  adapters: readonly string[],
  rows: readonly Row[],
  ofTokens?: number,
): Promise<number[][]> {
  const tokens = await Deno.makeTempFile({ dir: folder });
  const values = (of: (row: Row) => ArrayLike<number>) =>
    Int32Array.from(rows.flatMap((row) => Array.from(of(row))));
  const [ids, types] = [values(({ ids }) => ids), values((it) => it.types)];
  const offsets = Int32Array.from([
    0,
    ...rows.map((_, i) =>
      rows.slice(0, i + 1).reduce((sum, { ids }) => sum + ids.length, 0)
    ),
  ]);
  writeSafetensors(
    tokens,
    Object.fromEntries(
      Object.entries({ ids, types, offsets }).map(([name, values]) => [
        name,
        { shape: [values.length], values },
      ]),
    ),
  );
  await using peft = new PeftProcess(PEFT_PYTHON!);
  const { adapters: logits } = await peft.ask({
    model: MINILM!,
    tokens,
    labels: ofTokens ?? 2,
    tokens_have_labels: ofTokens !== undefined,
    adapters,
    models: [],
  });
  return logits;
}

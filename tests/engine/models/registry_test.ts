import { assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import {
  checkTensors,
  encoderTensors,
} from "../../../lib/engine/models/parameters.ts";
import { parseModel } from "../../../lib/engine/models/registry.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { writeSafetensors } from "../../../lib/engine/safetensors/writer.ts";
import { logitsAt } from "../logits.ts";
import {
  assertClose,
  assertSameBits,
  fixture,
  openReference,
  referenceBatch,
  referenceInput,
} from "../reference.ts";
import { noRanks, referenceHead } from "../without_adapters.ts";

function configOf(name: string): Record<string, unknown> {
  return JSON.parse(Deno.readTextFileSync(fixture(`tiny-${name}/config.json`)));
}

Deno.test("parseModel() names settings that the engine does not compute, with their values and what it does", () => {
  const cases: [
    name: string,
    change: Record<string, unknown>,
    fault: string,
  ][] = [
    [
      "bert",
      { hidden_act: "relu" },
      '"hidden_act" is "relu", which is not supported; expected "gelu" or "gelu_new"',
    ],
    [
      "bert",
      { position_embedding_type: "relative_key" },
      '"position_embedding_type" is "relative_key", which is not supported; expected "absolute"',
    ],
    ["bert", { is_decoder: true }, '"is_decoder" is true'],
    [
      "bert",
      { auto_map: { AutoModel: "modeling.Model" } },
      '"auto_map": The model runs code of its own repository',
    ],
    [
      "bert",
      { model_type: "nomic_bert" },
      'Model type "nomic_bert" is not supported; expected one of "bert", "roberta", ',
    ],
    ["distilbert", { activation: "relu" }, '"activation" is "relu"'],
    [
      "mpnet",
      { pad_token_id: 0 },
      '"pad_token_id" is 0, which is not supported; expected 1',
    ],
    ["modernbert", { attention_bias: true }, '"attention_bias" is true'],
    [
      "modernbert",
      { hidden_activation: "silu" },
      '"hidden_activation" is "silu"',
    ],
    [
      "modernbert",
      { layer_types: ["full_attention"] },
      '"layer_types": Expected num_hidden_layers (4) entries, got 1',
    ],
    ["modernbert", {
      rope_parameters: { full_attention: { rope_type: "yarn" } },
    }, '"rope_parameters.full_attention.rope_type" is "yarn"'],
    ["modernbert", {
      rope_parameters: { full_attention: { type: "linear", factor: 4 } },
    }, '"rope_parameters.full_attention.type" is "linear"'],
    [
      "modernbert",
      { rope_scaling: { rope_type: "linear", factor: 4 } },
      '"rope_scaling.rope_type" is "linear"',
    ],
    [
      "deberta",
      { conv_kernel_size: 3 },
      '"conv_kernel_size" is 3, which is not supported; expected 0',
    ],
    [
      "deberta",
      { share_att_key: undefined },
      '"share_att_key" is missing; expected true',
    ],
    ["deberta", { pos_att_type: "p2p" }, '"pos_att_type.0" is "p2p"'],
    ["albert", { hidden_act: "relu" }, '"hidden_act" is "relu"'],
    [
      "albert",
      { num_hidden_groups: 4 },
      '"num_hidden_groups": Expected at most num_hidden_layers',
    ],
    [
      "llama",
      { model_type: "mixtral" },
      'Model type "mixtral" is not supported',
    ],
    ["qwen3", { model_type: "qwen3_moe" }, 'Model type "qwen3_moe" is not'],
    ["qwen3", { model_type: "qwen2_vl" }, 'Model type "qwen2_vl" is not'],
    ["llama", { model_type: "llava" }, 'Model type "llava" is not supported'],
    ["llama", { hidden_act: "gelu" }, '"hidden_act" is "gelu"'],
    [
      "llama",
      { quantization_config: { quant_method: "gptq" } },
      '"quantization_config": The weights are quantized, which is not supported',
    ],
    [
      "llama",
      { rope_scaling: { type: "yarn", factor: 4 } },
      '"rope_scaling.type" is "yarn", which is not supported; expected "default" or "linear" or "llama3"',
    ],
    [
      "llama",
      { rope_parameters: { rope_type: "llama3", factor: 8 } },
      '"rope_parameters.low_freq_factor": Expected a number',
    ],
    [
      "qwen3",
      { num_key_value_heads: 3 },
      '"num_attention_heads": Expected a multiple of num_key_value_heads (3), got 4',
    ],
    [
      "qwen3",
      { layer_types: ["full_attention"] },
      '"layer_types": Expected num_hidden_layers (2) entries, got 1',
    ],
    [
      "llama",
      { head_dim: null, hidden_size: 36 },
      '"hidden_size": Expected a multiple of 2 x num_attention_heads (4), got 36',
    ],
  ];
  for (const [name, change, fault] of cases) {
    assertThrows(
      () => parseModel(JSON.stringify({ ...configOf(name), ...change })),
      SyntaxError,
      fault,
    );
  }
});

Deno.test("parseModel() reads ModernBERT's layers and rotary positions in every form of transformers", async () => {
  const reference = openReference("modernbert");
  const {
    global_attn_every_n_layers: _1,
    global_rope_theta: _2,
    local_rope_theta: _3,
    ...config
  } = configOf("modernbert");
  const logits = (form: Record<string, unknown>) =>
    logitsAt(
      loadClassifier(
        reference.file,
        parseModel(JSON.stringify({ ...config, ...form })),
        2,
        "head",
      ),
      referenceHead(reference, 2),
      referenceInput(reference, "padded"),
      noRanks(),
    );
  const [full, sliding] = ["full_attention", "sliding_attention"];
  const newer = {
    layer_types: [full, sliding, sliding, full],
    rope_parameters: {
      full_attention: { rope_type: "default", rope_theta: 160000 },
      sliding_attention: { rope_type: "default", rope_theta: 10000 },
    },
  };
  const older = { global_rope_theta: null, local_rope_theta: null };
  const expected = await logits(configOf("modernbert"));
  assertSameBits(await logits(newer), expected);
  assertSameBits(await logits({ ...newer, ...older }), expected);
  assertSameBits(
    await logits({ global_rope_theta: 5000, local_rope_theta: null }),
    await logits({ global_rope_theta: 5000, local_rope_theta: 5000 }),
  );
});

Deno.test("parseModel() reads ModernBERT with any position_embedding_type, which transformers ignores", () => {
  const config = configOf("modernbert");
  // Ettin and mmBERT have "sans_pos", a name of the code that pretrained them.
  for (const position_embedding_type of ["absolute", "rope", "sans_pos"]) {
    const model = parseModel(
      JSON.stringify({ ...config, position_embedding_type }),
    );
    assertEquals(model.layers, 4);
  }
});

Deno.test("a decoder without a token of padding reads the last token of each sequence", async () => {
  const reference = openReference("qwen3");
  const expected = reference.figures.floats("padded.logits2");
  const { pad_token_id: _, ...config } = configOf("qwen3");
  const logits = await logitsAt(
    loadClassifier(
      reference.file,
      parseModel(JSON.stringify(config)),
      2,
      "head",
    ),
    referenceHead(reference, 2),
    referenceInput(reference, "padded"),
    noRanks(),
  );
  assertClose(logits, expected, 1e-4, "logits");
});

Deno.test("a decoder classifies a text of one token", async () => {
  const reference = openReference("llama");
  const { model, file } = reference;
  const logits = (seq: number) =>
    logitsAt(
      loadClassifier(file, model, 2, "head"),
      referenceHead(reference, 2),
      {
        ids: tf.tensor2d(
          [[5, ...Array(seq - 1).fill(model.padId)]],
          [1, seq],
          "int32",
        ),
        positions: tf.tensor2d([Array.from({ length: seq }, (_, i) => i)], [
          1,
          seq,
        ], "int32"),
        types: tf.zeros([1, seq], "int32"),
        mask: tf.tensor2d([[1, ...Array(seq - 1).fill(0)]], [1, seq]),
      },
      noRanks(),
    );
  assertClose(await logits(1), await logits(3), 1e-6, "logits");
});

Deno.test("a decoder padded on the right gives the logits that transformers gives padded on the left", async () => {
  for (const name of ["llama-scaled", "qwen2"]) {
    const reference = openReference(name);
    const { model, figures } = reference;
    const { shape, ids, mask } = referenceBatch(reference, "padded");
    const [batch, seq] = shape;
    const right = new Int32Array(ids.length).fill(model.padId);
    const kept = new Float32Array(ids.length);
    for (let row = 0; row < batch; row++) {
      const [start, end] = [row * seq, (row + 1) * seq];
      const own = ids.slice(start, end).filter((_, i) => mask![start + i]);
      // The first row alone has no padding.
      assertEquals(ids[start] === model.padId, row > 0);
      right.set(own, start);
      kept.fill(1, start, start + own.length);
    }
    const logits = await logitsAt(
      loadClassifier(reference.file, model, 2, "head"),
      referenceHead(reference, 2),
      {
        ...referenceInput(reference, "padded"),
        ids: tf.tensor2d(right, shape, "int32"),
        mask: tf.tensor2d(kept, shape),
      },
      noRanks(),
    );
    assertClose(logits, figures.floats("padded.logits2"), 1e-4, name);
  }
});

Deno.test("encoderTensors() reads the norms of the first BERTs, whose names are gamma and beta", () => {
  const { model, file } = openReference("bert");
  const expected = encoderTensors(file, model);
  const path = Deno.makeTempFileSync({ suffix: ".safetensors" });
  try {
    writeSafetensors(
      path,
      Object.fromEntries(
        [...file.tensors].map(([name, { shape }]) => [
          name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta"),
          { shape, values: file.floats(name) },
        ]),
      ),
    );
    const old = SafetensorsFile.open(path);
    checkTensors(old, model);
    assertEquals(encoderTensors(old, model), expected);
  } finally {
    Deno.removeSync(path);
  }
});

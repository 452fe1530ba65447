import { assertIsError, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readAdapter } from "../../lib/peft/adapter.ts";
import importAdapter from "../../tasks/import-adapter.ts";
import { assertSameBits } from "../engine/reference.ts";
import { peftFolder } from "../tasks/peft_folder.ts";
import { referenceTensors } from "../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const model = join(import.meta.dirname!, "../../fixtures/tiny-roberta");

/** What PEFT 0.21 writes of what decides how an adapter computes. */
const PEFT_DEFAULTS = {
  alora_invocation_tokens: null,
  alpha_pattern: {},
  arrow_config: null,
  corda_config: null,
  eva_config: null,
  exclude_modules: null,
  fan_in_fan_out: false,
  kasa_config: null,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_bias: false,
  lora_ga_config: null,
  monteclora_config: null,
  qalora_group_size: 16,
  target_parameters: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_qalora: false,
  use_rslora: false,
  velora_config: null,
};

Deno.test("import-adapter accepts the defaults of PEFT and initializations that leave the model unchanged", () =>
  withFolder(async (folder) => {
    const own = referenceTensors("roberta");
    for (
      const start of [
        true,
        false,
        null,
        "gaussian",
        "eva",
        "orthogonal",
        "mica",
      ]
    ) {
      const source = await peftFolder(folder, {
        ...PEFT_DEFAULTS,
        init_lora_weights: start,
      });
      const { output } = await runTask(importAdapter, folder, { source }, {
        model,
      });
      assertSameBits((await readAdapter(output)).tensors, own);
    }
  }));

Deno.test("import-adapter names each setting of PEFT that would change what the adapter computes", () =>
  withFolder(async (folder) => {
    const configs: [Record<string, unknown>, RegExp][] = [
      [
        { peft_type: "IA3" },
        /another type than LoRA \("IA3"\) is not supported/,
      ],
      [
        { task_type: "SEQ_2_SEQ_LM" },
        /another task type \("SEQ_2_SEQ_LM"\) cannot .*SEQ_CLS/,
      ],
      [{ task_type: "CAUSAL_LM" }, /an encoder, which writes no text/],
      [{ task_type: null }, /without a task type cannot .* write "SEQ_CLS"/],
      [
        { init_lora_weights: "pissa_niter_16" },
        /initialization may change the model's weights \("pissa_niter_16"\) is not.*path_initial/,
      ],
      [
        { init_lora_weights: "lora_ga", lora_ga_config: { scale: "stable" } },
        /initialization may change the model's weights \("lora_ga"\) is not/,
      ],
      [
        { init_lora_weights: "of another year" },
        /initialization may change .* \("of another year"\) is not/,
      ],
      [
        { layer_replication: [[0, 2], [1, 2]] },
        /replicated layers is not.*; train without layer_replication/,
      ],
      [{ use_qalora: true }, /QALoRA is not supported/],
      [{ use_bdlora: { nblocks: 2 } }, /BD-LoRA is not supported/],
      [
        { alora_invocation_tokens: [1, 2] },
        /invocation sequence .* is not supported/,
      ],
      [{ arrow_config: { top_k: 3 } }, /\(Arrow\) is not.*arrow_config/],
      [{ kasa_config: { beta: 1e-4 } }, /KaSA is not.*without kasa_config/],
      [
        { monteclora_config: { num_samples: 8 } },
        /MonteCLoRA is not.*without monteclora_config/,
      ],
      [{ velora_config: { scale: 1 } }, /VeLoRA is not.*velora_config/],
      [
        { target_parameters: ["query.weight"] },
        /LoRA on bare parameters is not.*without target_parameters/,
      ],
      [
        { trainable_token_indices: [4] },
        /single tokens is not.*without trainable_token_indices/,
      ],
      [
        { trainable_token_indices: { word_embeddings: [4] } },
        /single tokens is not/,
      ],
      [{ use_dora: true }, /query.lora_magnitude_vector" is missing/],
      [{ lora_bias: true }, /bias in lora_B is not.*\n.*lora_bias/],
      [{ bias: "all" }, /Trained biases cannot be imported/],
      [
        { rank_pattern: { query: 2 } },
        /cannot be imported: tensor .*query.lora_A.weight" has shape \[4,64\], but its rank .* is 2/,
      ],
      [
        { alpha_pattern: { query: 3 } },
        /"roberta\.encoder.*value" \(2\) and .*query" \(0\.75\) cannot be made equal without rounding; train with one scale/,
      ],
      [
        { rank_pattern: { "(a+)+.query": 2 } },
        /a module pattern other than a name suffix/i,
      ],
    ];
    for (const [config, message] of configs) {
      const source = await peftFolder(folder, { ...PEFT_DEFAULTS, ...config });
      assertIsError(
        await assertRejects(() =>
          runTask(importAdapter, folder, { source }, { model })
        ),
        Error,
        message,
      );
    }
  }));

import { assertIsError, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readAdapter } from "../../lib/artifacts/adapter.ts";
import importAdapter from "../../tasks/import-adapter.ts";
import { peftFolder } from "./peft_folder.ts";
import { referenceTensors } from "./reference_adapter.ts";
import { runTask, withFolder } from "./run_task.ts";
import { assertSameBits } from "../engine/reference.ts";

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

Deno.test("import-adapter takes PEFT's defaults, and starts that leave the model's own weights alone", () =>
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

Deno.test("import-adapter refuses by name each setting of PEFT under which it would compute something else", () =>
  withFolder(async (folder) => {
    const configs: [Record<string, unknown>, RegExp][] = [
      [
        { peft_type: "IA3" },
        /another type cannot be taken over; only LoRA can/,
      ],
      [{ task_type: "CAUSAL_LM" }, /another kind of task .* only SEQ_CLS can/],
      [
        { init_lora_weights: "pissa_niter_16" },
        /start may have changed the model's own weights \("pissa_niter_16"\) cannot.*path_initial/,
      ],
      [
        { init_lora_weights: "lora_ga", lora_ga_config: { scale: "stable" } },
        /start may have changed the model's own weights \("lora_ga"\) cannot/,
      ],
      [
        { init_lora_weights: "of another year" },
        /start may have changed .* \("of another year"\) cannot/,
      ],
      [
        { layer_replication: [[0, 2], [1, 2]] },
        /repeats its layers cannot.*; train without layer_replication/,
      ],
      [{ use_qalora: true }, /QALoRA cannot be taken over/],
      [{ use_bdlora: { nblocks: 2 } }, /BD-LoRA cannot be taken over/],
      [
        { alora_invocation_tokens: [1, 2] },
        /for a part of the text cannot be taken over/,
      ],
      [{ arrow_config: { top_k: 3 } }, /\(Arrow\) cannot.*import one of/],
      [{ kasa_config: { beta: 1e-4 } }, /KaSA cannot.*without kasa_config/],
      [
        { monteclora_config: { num_samples: 8 } },
        /MonteCLoRA cannot.*without monteclora_config/,
      ],
      [{ velora_config: { scale: 1 } }, /VeLoRA cannot.*velora_config/],
      [
        { target_parameters: ["query.weight"] },
        /LoRA on parameters cannot.*target_modules=\["query", "value"\]/,
      ],
      [
        { trainable_token_indices: [4] },
        /Trained tokens cannot.*without trainable_token_indices/,
      ],
      [
        { trainable_token_indices: { word_embeddings: [4] } },
        /Trained tokens cannot/,
      ],
      [{ use_dora: true }, /DoRA cannot be taken over.*\n.*use_dora/],
      [{ lora_bias: true }, /bias in lora_B cannot.*\n.*lora_bias/],
      [{ bias: "all" }, /Trained biases cannot be taken over/],
      [
        { rank_pattern: { query: 2 } },
        /cannot be taken over: tensor .*query.lora_A.weight" has shape \[4,64\], and its rank is 2/,
      ],
      [
        { alpha_pattern: { query: 3 } },
        /different scales, 2 of "roberta\.encoder.*value" and 0\.75 of .*query", would be rounded; train with one scale/,
      ],
      [
        { rank_pattern: { "(a+)+.query": 2 } },
        /a pattern of modules other than the end of their name/i,
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

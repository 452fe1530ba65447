import { z } from "zod";

const never = (what: string, remedy: string) => ({
  error: `${what} cannot be taken over; ${remedy}`,
});
const off = (what: string, remedy: string) =>
  z.literal(false, never(what, remedy)).nullish();
/** A variant of LoRA that has a configuration of its own. */
const unset = (what: string, remedy: string) =>
  z.null(never(what, remedy)).optional();
/** A list, or a mapping, that names what else is changed. */
const empty = (what: string, remedy: string) =>
  z.unknown().refine(
    (found) => Object.keys(found ?? {}).length === 0,
    never(what, remedy),
  ).optional();
/** Values by the end of a module's name; PEFT takes any regular expression, which a stranger's file may not run here. */
const byName = (value: z.ZodNumber) =>
  z.record(z.string(), value).refine(
    (found) => Object.keys(found).every((name) => /^[\w.]+$/.test(name)),
    never(
      "A pattern of modules other than the end of their name",
      "write their names out",
    ),
  ).nullish().transform((found) => found ?? {});

/**
 * Starts after which an adapter adds to the model's own weights as they are.
 * PiSSA, OLoRA, CorDA, LoRA-GA and LoftQ take something out of them first.
 */
const PLAIN_STARTS = [
  true,
  false,
  "gaussian",
  "eva",
  "orthogonal",
  "mica",
] as const;

/**
 * What of PEFT's configuration can be taken over; the rest has no influence on
 * what a trained adapter computes, or shows in its tensors, as the choice of
 * modules does.
 */
export const PeftConfig = z.looseObject({
  peft_type: z.literal(
    "LORA",
    never("An adapter of another type", "only LoRA can"),
  ),
  task_type: z.literal(
    "SEQ_CLS",
    never("An adapter for another kind of task", "only SEQ_CLS can"),
  ),
  base_model_name_or_path: z.string().nullish(),
  revision: z.string().nullish(),
  r: z.int().positive(),
  lora_alpha: z.number().positive(),
  use_rslora: z.boolean().nullish(),
  bias: z.literal("none", never("Trained biases", "train with bias: none"))
    .default("none"),
  init_lora_weights: z.literal(PLAIN_STARTS, {
    error: ({ input }) =>
      `An adapter whose start may have changed the model's own weights (${
        JSON.stringify(input)
      }) cannot be taken over; convert it when saving it in PEFT (path_initial_model_for_weight_conversion), or merge it there`,
  }).nullish(),
  layer_replication: empty(
    "A model that repeats its layers",
    "train without layer_replication",
  ),
  use_dora: off("DoRA", "train with use_dora: false, or merge it in PEFT"),
  use_qalora: off("QALoRA", "merge it in PEFT"),
  use_bdlora: unset("BD-LoRA", "merge it in PEFT"),
  lora_bias: off("A bias in lora_B", "train with lora_bias: false"),
  alora_invocation_tokens: unset(
    "An adapter for a part of the text",
    "train without activation",
  ),
  arrow_config: unset(
    "A router between adapters (Arrow)",
    "import one of the adapters",
  ),
  kasa_config: unset("KaSA", "train without kasa_config"),
  monteclora_config: unset(
    "MonteCLoRA",
    "train without monteclora_config, or merge it in PEFT",
  ),
  velora_config: unset(
    "VeLoRA",
    "train without velora_config, or merge it in PEFT",
  ),
  target_parameters: empty(
    "LoRA on parameters",
    'train with target_modules=["query", "value"]',
  ),
  trainable_token_indices: empty(
    "Trained tokens",
    "train without trainable_token_indices",
  ),
  rank_pattern: byName(z.int().positive()),
  alpha_pattern: byName(z.number().positive()),
});

export type PeftConfig = z.output<typeof PeftConfig>;

import * as z from "zod";

/** The fields of PEFT's configuration that name the base model. */
export const BaseModelConfig = z.looseObject({
  base_model_name_or_path: z.string().nullish(),
  revision: z.string().nullish(),
});

/**
 * Values by module name suffix. PEFT accepts any regular expression; those of
 * an untrusted file are not run here.
 */
const byName = (value: z.ZodNumber) =>
  z.record(z.string(), value).refine(
    (pattern) => Object.keys(pattern).every((name) => /^[\w.]+$/.test(name)),
    "A module pattern other than a name suffix is not supported; write out the module names",
  ).nullish().transform((pattern) => pattern ?? {});

/**
 * Values of `init_lora_weights` that leave the model's weights unchanged.
 * PiSSA, OLoRA, CorDA, LoRA-GA and LoftQ subtract something from them first.
 */
const PLAIN_INITS = [true, false, "gaussian", "eva", "orthogonal", "mica"];

/**
 * The fields that every LoRA needs, and those that decide what its factors add
 * to the weights of a model; PEFT writes more.
 */
export const LoraConfig = BaseModelConfig.extend({
  peft_type: z.literal("LORA", {
    error: ({ input }) =>
      `An adapter of another type than LoRA (${
        JSON.stringify(input)
      }) is not supported; train it with LoRA, or merge it in PEFT`,
  }),
  r: z.int().positive(),
  lora_alpha: z.number().positive(),
  lora_dropout: z.number().min(0).lt(1).nullish(),
  use_rslora: z.boolean().nullish(),
  init_lora_weights: z.literal(PLAIN_INITS, {
    error: ({ input }) =>
      `An adapter whose initialization may change the model's weights (${
        JSON.stringify(input)
      }) is not supported; convert it when saving it in PEFT (path_initial_model_for_weight_conversion), or merge it there`,
  }).nullish(),
  rank_pattern: byName(z.int().positive()),
  alpha_pattern: byName(z.number().positive()),
});

type LoraConfig = z.output<typeof LoraConfig>;

/**
 * Fields that make another update of the factors unless they are absent, false
 * or empty, and what they stand for.
 */
export const VARIANTS = {
  arrow_config: "A router between adapters (Arrow)",
  kasa_config: "KaSA",
  monteclora_config: "MonteCLoRA",
  target_parameters: "LoRA on bare parameters",
  use_bdlora: "BD-LoRA",
  use_dora: "DoRA",
  use_qalora: "QALoRA",
  velora_config: "VeLoRA",
};

/** A refinement of a configuration that refuses such fields by name. */
export function refuseFields(fields: Readonly<Record<string, string>>) {
  return (
    config: Readonly<Record<string, unknown>>,
    context: z.RefinementCtx,
  ) => {
    for (const [field, what] of Object.entries(fields)) {
      const value = config[field];
      if (!value || Object.keys(value).length === 0 && value !== true) continue;
      context.addIssue({
        code: "custom",
        path: [field],
        message:
          `${what} is not supported; train without ${field}, or merge it in PEFT`,
      });
    }
  };
}

/**
 * Rank, alpha and scale of a module, of whose patterns PEFT takes the first
 * suffix that matches its name.
 */
export function moduleScale(
  { r, lora_alpha, rank_pattern, alpha_pattern, use_rslora }: LoraConfig,
  module: string,
) {
  const valueIn = (pattern: Readonly<Record<string, number>>) =>
    Object.entries(pattern).find(([suffix]) =>
      `.${module}`.endsWith(`.${suffix}`)
    )?.[1];
  const rank = valueIn(rank_pattern) ?? r;
  const alpha = valueIn(alpha_pattern) ?? lora_alpha;
  return { rank, alpha, scale: alpha / (use_rslora ? Math.sqrt(rank) : rank) };
}

import { assertEquals } from "@std/assert";
import { withPooling } from "../../lib/engine/models/pooling.ts";
import {
  modelNameOf,
  modulesOf,
  modulesToSave,
  PEFT_PREFIX,
  peftNameOf,
  peftTargets,
} from "../../lib/peft/names.ts";
import type { TargetModules } from "../../lib/engine/models/parameters.ts";
import { parameterLayout } from "../../lib/engine/models/parameters.ts";
import { openReference } from "../engine/reference.ts";

/** Names of an adapter's tensors in PEFT. */
function namesOf(
  architecture: "bert" | "roberta",
  targetModules: TargetModules,
): string[] {
  const { model } = openReference(architecture);
  const { entries } = parameterLayout(model, 2, { rank: 2, targetModules });
  return [...entries.keys()].map((name) => `${PEFT_PREFIX}${name}`);
}

Deno.test("peftTargets() lists suffixes as they were given, unless PEFT would match the head as well", () => {
  const dense = [
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
  ];
  for (const architecture of ["bert", "roberta"] as const) {
    const targets = (given: TargetModules) =>
      peftTargets(given, namesOf(architecture, given));
    assertEquals(targets(["query", "value"]), ["query", "value"]);
    // The pooler of BERT and the head of RoBERTa have a module "dense".
    assertEquals(targets(["dense"]), dense);
    assertEquals(targets("all-linear"), [
      "attention.self.query",
      "attention.self.key",
      "attention.self.value",
      ...dense,
    ]);
  }
});

Deno.test("peftNameOf() leaves out the prefix of the encoder of an embedding, as AutoModel has it, and modelNameOf() is its inverse", () => {
  for (
    const [name, module] of [
      ["bert", "encoder.layer.0.attention.self.query"],
      ["llama", "layers.0.self_attn.q_proj"],
    ] as const
  ) {
    const { model } = openReference(name);
    const { prefix } = model.architecture;
    const own = `${prefix}.${module}`;
    assertEquals(peftNameOf(own, model), `base_model.model.${own}`);
    assertEquals(modelNameOf(`base_model.model.${own}`, model), own);
    const embedding = withPooling(model, "mean");
    assertEquals(peftNameOf(own, embedding), `base_model.model.${module}`);
    assertEquals(modelNameOf(`base_model.model.${module}`, embedding), own);
  }
});

Deno.test("modulesToSave() names what is trained with the head", () => {
  const saved = (architecture: "bert" | "roberta") =>
    modulesToSave(namesOf(architecture, ["query"]));
  assertEquals(saved("bert"), ["classifier", "pooler"]);
  assertEquals(saved("roberta"), ["classifier"]);
});

Deno.test("modulesOf() gives the ends of the modules' names from their layers on", () => {
  const module = "base_model.model.bert.encoder.layer.10.output.dense";
  const names = ["lora_A.weight", "weight", "lora_B.weight"]
    .map((it) => `${module}.${it}`);
  assertEquals(modulesOf(names), ["layer.10.output.dense"]);
});

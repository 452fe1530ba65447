import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { adapterTensor } from "../engine/adapters/registry.ts";
import type { Model } from "../engine/models/model.ts";
import type { TargetModules } from "../engine/models/parameters.ts";
import { ARCHITECTURES } from "../engine/models/registry.ts";

/** Prefix that PEFT adds to the name of every tensor. */
export const PEFT_PREFIX = "base_model.model.";

/** What a name depends on: which class of transformers has the model. */
type NamedModel = Pick<Model, "architecture" | "head">;

/**
 * PEFT's name of a tensor or a module of a model. Embeddings are those of
 * transformers' `AutoModel`, whose encoder has no prefix such as `bert.`.
 */
export function peftNameOf(name: string, model: NamedModel): string {
  return PEFT_PREFIX + name.slice(encoderPrefix(model).length);
}

/** The inverse of {@linkcode peftNameOf}. */
export function modelNameOf(name: string, model: NamedModel): string {
  return encoderPrefix(model) + name.slice(PEFT_PREFIX.length);
}

/** What names of the model have before those of its class in transformers. */
function encoderPrefix({ architecture, head }: NamedModel): string {
  return head === "embedding" ? `${architecture.prefix}.` : "";
}

/** Tensors by PEFT's names, given by the model's. */
export function toPeftNames(
  tensors: AdapterTensors,
  model: NamedModel,
): AdapterTensors {
  return renamed(tensors, (name) => peftNameOf(name, model));
}

/** Tensors by the model's names, given by PEFT's. */
export function toModelNames(
  tensors: AdapterTensors,
  model: NamedModel,
): AdapterTensors {
  return renamed(tensors, (name) => modelNameOf(name, model));
}

function renamed(
  tensors: AdapterTensors,
  rename: (name: string) => string,
): AdapterTensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [rename(name), tensor]),
  );
}

/**
 * Name of a module from its layer on, by which PEFT finds it:
 * `layer.0.attention.self.query`; outside of layers, the whole name.
 */
export function peftName(module: string): string {
  return /[^.]+\.\d+\..+$/.exec(module)?.[0] ??
    module.replace(PEFT_PREFIX, "");
}

/** Modules of an adapter, in the order of its tensors. */
export function modulesOf(tensors: Iterable<string>): string[] {
  return pathsOf(tensors).map(peftName);
}

/** Whole names of the modules of an adapter, in the order of its tensors. */
export function pathsOf(tensors: Iterable<string>): string[] {
  return [
    ...new Set([...tensors].flatMap((it) => adapterTensor(it)?.module ?? [])),
  ];
}

/**
 * Names of target modules as a configuration of PEFT lists them. They are
 * written out from the layer on where PEFT would otherwise adapt modules of the
 * head as well: for `all-linear`, and for names such as `dense`.
 *
 * @param tensors Names of the adapter's tensors
 */
export function peftTargets(
  targets: TargetModules,
  tensors: Iterable<string>,
): string[] {
  const names = [...tensors];
  const isOfHead = (target: string) =>
    names.some((name) =>
      !adapterTensor(name) && name.endsWith(`.${target}.weight`)
    );
  if (targets !== "all-linear" && !targets.some(isOfHead)) return [...targets];
  return [
    ...new Set(modulesOf(names).map((name) => name.replace(/^.*\.\d+\./, ""))),
  ];
}

/**
 * Modules of the head, which PEFT's configuration lists as `modules_to_save`.
 */
export function modulesToSave(tensors: Iterable<string>): string[] {
  const names = [...tensors].filter((name) => !adapterTensor(name))
    .map((name) => name.slice(PEFT_PREFIX.length).split("."));
  const prefixes = new Set(ARCHITECTURES.map(({ prefix }) => prefix));
  const heads = names.map(([first, second]) =>
    prefixes.has(first!) ? second! : first!
  );
  return [...new Set(heads)].sort();
}

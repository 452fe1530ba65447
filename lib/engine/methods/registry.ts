import { dylora, dyloraFields, importedDylora } from "./dylora.ts";
import { full } from "./full.ts";
import { head } from "./head.ts";
import {
  importedLora,
  importedLoraSvd,
  importedLoraTruncated,
  lora,
  loraSvd,
  loraTruncated,
} from "./lora.ts";
import { matryoshka, matryoshkaFields } from "./matryoshka.ts";
import type { Method } from "./method.ts";

/** Methods whose artifacts are adapters. */
export const ADAPTER_METHODS: readonly Method[] = [
  dylora,
  lora,
  loraTruncated,
  loraSvd,
  matryoshka,
  importedLora,
  importedLoraTruncated,
  importedLoraSvd,
  importedDylora,
];

/** Methods whose artifacts are whole classifiers. */
export const CLASSIFIER_METHODS: readonly Method[] = [head, full];

/** Every method. */
export const METHODS = [...ADAPTER_METHODS, ...CLASSIFIER_METHODS];

/** Fields of `training.json` that belong to one method alone. */
export const METHOD_FIELDS = { ...dyloraFields, ...matryoshkaFields };

/**
 * The method of this name.
 *
 * @throws {TypeError} If there is none.
 */
export function methodNamed(name: string): Method {
  const found = METHODS.find((method) => method.name === name);
  if (found !== undefined) return found;
  const names = METHODS.map((method) => `"${method.name}"`).join(", ");
  throw new TypeError(`Unknown method "${name}"; expected one of ${names}`);
}

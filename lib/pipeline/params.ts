/**
 * Parameters of a pipeline file, and their overrides by profiles and settings.
 */
import { didYouMean } from "./did_you_mean.ts";
import {
  abbreviated,
  type FaultList,
  isMapping,
  type Mapping,
  type Path,
} from "./faults.ts";
import { readYaml } from "./read.ts";
import { hasReference, referenceBehind } from "./references.ts";

/** A parameter override by dot path: `-S train.lr=5e-4`. */
export interface Setting {
  readonly key: string;
  readonly value: unknown;
}

/**
 * The parameters of a file, overridden by a profile and then by settings.
 *
 * All profiles are checked, including those not in use. An override must name
 * an existing parameter. A mapping overrides the parameters that it names; any
 * other value replaces the whole parameter.
 *
 * @param file Value of the whole file, whose `params` and `profiles` are
 * mappings.
 */
export function resolveParams(
  file: Mapping,
  profile: string | undefined,
  settings: readonly Setting[],
  faults: FaultList,
): Mapping {
  const original = (file.params ?? {}) as Mapping;
  const profiles = (file.profiles ?? {}) as Record<string, Mapping>;
  for (const [name, path] of wrongNames(original, ["params"])) {
    faults.addAtKey(path, `Invalid name "${name}" of a parameter${NAME_RULE}`);
  }
  for (
    const path of [
      ...referencesIn(original, ["params"]),
      ...referencesIn(profiles, ["profiles"]),
    ]
  ) faults.addAt(path, NO_REFERENCE);
  let params = original;
  for (const [name, changes] of Object.entries(profiles)) {
    let changed = original;
    for (const [key, value] of Object.entries(changes)) {
      changed = change(
        changed,
        key,
        value,
        (message, hint = "") =>
          faults.addAtKey(
            ["profiles", name, key],
            `${message} in profile "${name}"${hint}`,
          ),
      );
    }
    if (name === profile) params = changed;
  }
  if (profile !== undefined && !Object.hasOwn(profiles, profile)) {
    const names = Object.keys(profiles);
    const hint = didYouMean(profile, names, "the profiles are") ||
      "; the pipeline has no profiles";
    faults.add(`Unknown profile "${profile}"${hint}`);
  }
  for (const setting of settings) {
    if (!referencesIn(setting.value, []).next().done) {
      faults.add(NO_REFERENCE, { setting: textOf(setting) });
      continue;
    }
    params = change(
      params,
      setting.key,
      setting.value,
      (message, hint = "") =>
        faults.add(message + hint, { setting: textOf(setting) }),
    );
  }
  return params;
}

/** A setting as it is written after `-S`. */
function textOf({ key, value }: Setting): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return `${key}=${abbreviated(text)}`;
}

/**
 * The setting that a value of the file comes from, if a text at the path or
 * above it is a reference to what the setting sets.
 *
 * @returns The setting as it is written, and the text with the reference.
 */
export function settingBehind(
  file: unknown,
  path: Path,
  settings: readonly Setting[],
): { readonly setting: string; readonly text: string } | undefined {
  const [text = "", rest = []] = referenceBehind(file, path) ?? [];
  for (const [, steps] of text.matchAll(/\$\{\s*params((?:\.[\w-]+)+)\s*\}/g)) {
    const name = [steps!.slice(1), ...rest].join(".");
    const setting = settings.findLast(({ key }) =>
      `${name}.`.startsWith(`${key}.`) || key.startsWith(`${name}.`)
    );
    if (setting !== undefined) return { setting: textOf(setting), text };
  }
}

/** A copy of the mapping with the value at a dot path changed. */
function change(
  params: Mapping,
  path: string,
  value: unknown,
  fail: (message: string, hint?: string) => void,
  walked: readonly string[] = [],
): Mapping {
  const dot = path.indexOf(".");
  const key = dot < 0 ? path : path.slice(0, dot);
  const name = [...walked, key].join(".");
  if (!Object.hasOwn(params, key)) {
    const paths = Object.keys(params).map((it) => [...walked, it].join("."));
    fail(`Unknown parameter "${name}"`, didYouMean(name, paths));
    return params;
  }
  const old = params[key];
  if (dot < 0 && !(isMapping(old) && isMapping(value))) {
    for (const [wrong] of wrongNames(value, [])) {
      fail(`Invalid name "${wrong}" of a parameter`, NAME_RULE);
    }
    return { ...params, [key]: value };
  }
  if (!isMapping(old)) {
    fail(`Parameter "${name}" is not a mapping, so it has no "${path}"`);
    return params;
  }
  const changes: [string, unknown][] = dot < 0
    ? Object.entries(value as Mapping)
    : [[path.slice(dot + 1), value]];
  const changed = changes.reduce(
    (it, [inner, innerValue]) =>
      change(it, inner, innerValue, fail, [...walked, key]),
    old,
  );
  return { ...params, [key]: changed };
}

const NAME_RULE =
  ': a name consists of letters, digits, "_" and "-", and does not begin with "-"';

/**
 * Keys in a value that a dot path cannot contain, such as `<<`, and their
 * paths.
 */
function* wrongNames(value: unknown, path: Path): Generator<[string, Path]> {
  for (const [at] of valuesIn(value, path)) {
    const key = at.at(-1);
    if (typeof key === "string" && !/^\w[\w-]*$/.test(key)) yield [key, at];
  }
}

const NO_REFERENCE =
  "A parameter cannot contain a reference; refer to both parameters where they are used";

/** Paths of the texts with references in a value. */
function* referencesIn(value: unknown, path: Path): Generator<Path> {
  for (const [at, it] of valuesIn(value, path)) {
    if (typeof it === "string" && hasReference(it)) yield at;
  }
}

/** A value and all that it contains, with their paths. */
function* valuesIn(value: unknown, path: Path): Generator<[Path, unknown]> {
  yield [path, value];
  const entries = typeof value === "object" ? Object.entries(value ?? {}) : [];
  for (const [key, item] of entries) yield* valuesIn(item, [...path, key]);
}

/**
 * Parses `train.lr=5e-4`: a dot path and a value in YAML, which gets the type
 * that it would have in the file.
 *
 * @throws {Error} If the text does not have this form.
 */
export async function parseSetting(text: string): Promise<Setting> {
  const equals = text.indexOf("=");
  const key = text.slice(0, Math.max(equals, 0));
  if (!/^\w[\w-]*(\.\w[\w-]*)*$/.test(key)) {
    throw new Error(
      `Setting "${text}" must have the form KEY=VALUE, such as "train.lr=5e-4"`,
    );
  }
  const value = text.slice(equals + 1);
  if (value.trim() === "") return { key, value };
  const { value: parsed, faults: [fault] } = await readYaml(value);
  if (fault === undefined) return { key, value: parsed };
  throw new Error(
    `The value of setting "${text}" is not valid YAML: ${fault.message}; to give text, quote it: -S ${key}='"..."'`,
  );
}

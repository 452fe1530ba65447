import type { FaultList } from "./fault.ts";
import { hasReference } from "./reference.ts";
import { didYouMean } from "./suggest.ts";
import { isMapping, keySpanAt, type Mapping, type Tree } from "./tree.ts";

/** A change of a parameter by dot path: `-S train.lr=5e-4`. */
export interface Setting {
  readonly key: string;
  readonly value: unknown;
}

/**
 * The parameters of a file, changed by a profile and then by settings.
 *
 * Every profile is checked, used or not. A change must name a parameter that
 * exists. A mapping changes the parameters that it names; anything else
 * replaces the whole value.
 *
 * @param tree The whole file; its `params` and `profiles` are mappings.
 */
export function resolveParams(
  tree: Tree,
  profile: string | undefined,
  settings: readonly Setting[],
  faults: FaultList,
): Mapping {
  const file = tree.value as Mapping;
  const original = (file.params ?? {}) as Mapping;
  const profiles = (file.profiles ?? {}) as Record<string, Mapping>;
  checkNames(tree, faults);
  for (const name of ["params", "profiles"]) {
    const under = tree.children?.get(name);
    if (under) refuseReferences(under, faults);
  }
  let params = original;
  for (const [name, changes] of Object.entries(profiles)) {
    let changed = original;
    for (const [key, value] of Object.entries(changes)) {
      changed = change(changed, key, value, (message, hint = "") =>
        faults.add(
          `${message} in profile "${name}"${hint}`,
          keySpanAt(tree, ["profiles", name, key]),
        ));
    }
    if (name === profile) params = changed;
  }
  if (profile !== undefined && !Object.hasOwn(profiles, profile)) {
    const names = Object.keys(profiles);
    const hint = didYouMean(profile, names) ||
      (names.length > 0
        ? `; there are ${names.map((it) => `"${it}"`).join(", ")}`
        : "; the pipeline has no profiles");
    faults.add(`Unknown profile "${profile}"${hint}`);
  }
  for (const { key, value } of settings) {
    params = change(
      params,
      key,
      value,
      (message, hint = "") =>
        faults.add(`${message} in "-S ${key}=..."${hint}`),
    );
  }
  return params;
}

/** The mapping with the value at a dot path changed; the original stays as it is. */
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
    const known = Object.keys(params).map((it) => [...walked, it].join("."));
    fail(`Unknown parameter "${name}"`, didYouMean(name, known));
    return params;
  }
  const old = params[key];
  if (dot < 0 && !(isMapping(old) && isMapping(value))) {
    return { ...params, [key]: value };
  }
  if (!isMapping(old)) {
    fail(`Parameter "${name}" is no mapping, so it has no "${path}"`);
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

/** A parameter's name must be one that a dot path can hold. */
function checkNames(tree: Tree, faults: FaultList): void {
  const visit = (at: Tree | undefined) => {
    for (const [key, child] of at?.children ?? []) {
      if (typeof key === "string" && !/^\w[\w-]*$/.test(key)) {
        faults.add(
          `Invalid name "${key}" of a parameter: a name is made of letters, digits, "_" and "-"`,
          at!.keys!.get(key),
        );
      }
      visit(child);
    }
  };
  for (const child of tree.children?.get("params")?.children?.values() ?? []) {
    visit(child);
  }
}

function refuseReferences(tree: Tree, faults: FaultList): void {
  if (typeof tree.value === "string" && hasReference(tree.value)) {
    faults.add(
      "A parameter cannot refer to another; refer to both where they are used",
      tree.span,
    );
  }
  for (const child of tree.children?.values() ?? []) {
    refuseReferences(child, faults);
  }
}

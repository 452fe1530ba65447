import { z } from "zod";
import type { Fault, FaultList } from "./fault.ts";
import { hasReference } from "./reference.ts";
import { REFERENCE_EXPECTED } from "./schema.ts";
import { didYouMean } from "./suggest.ts";
import { isMapping, keySpanAt, spanAt, type Tree } from "./tree.ts";

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/** What was checked, and how to speak of it. */
export interface Checked {
  readonly tree: Tree;
  /** Path of the checked value in the tree. */
  readonly at: Path;
  readonly schema: z.ZodType;
  /** The checked value. */
  readonly value: unknown;
  /** What the keys belong to: `stage "tokenize"`. */
  readonly owner: string;
  /** Where in the tree, below `at`, a path of the value stands; at the same path if left out. */
  readonly inTree?: (path: Path) => Path;
}

/** Reports zod's issues as faults with positions, in the words of a pipeline file. */
export function reportIssues(
  issues: readonly Issue[],
  faults: FaultList,
  checked: Checked,
): void {
  for (const issue of issues) {
    for (const { message, span } of faultsOfIssue(issue, checked)) {
      faults.add(message, span);
    }
  }
}

function faultsOfIssue(issue: Issue, checked: Checked): Fault[] {
  const { tree, at, schema, value, owner, inTree = (path) => path } = checked;
  if (issue.code === "invalid_union") {
    return faultsOfUnion(issue, checked);
  }
  const path = issue.path;
  const whole = [...at, ...inTree(path)];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const written = [...at, ...inTree([...path, key])];
      const from = written.at(-1) === key ? "" : origin(tree, written);
      return {
        message:
          `Unknown key "${[...path, key].join(".")}" of ${owner}${from}` +
          didYouMean(key, knownKeys(schema, path)),
        span: keySpanAt(tree, written),
      };
    });
  }
  if (issue.code === "invalid_key") {
    return [{
      message: `Invalid name "${String(path.at(-1))}" in ${owner}: ${
        issue.issues[0]?.message ?? issue.message
      }`,
      span: keySpanAt(tree, whole),
    }];
  }
  const subject = path.length === 0 ? owner : `"${path.join(".")}" of ${owner}`;
  const found = valueAt(value, path);
  if (found === undefined) {
    return [{
      message: `${capitalized(subject)} is missing`,
      span: keySpanAt(tree, whole),
    }];
  }
  return [{
    message: `Invalid ${subject}: ${expectation(issue)}, got ${
      describe(found)
    }${origin(tree, whole)}${
      issue.code === "invalid_value" && typeof found === "string"
        ? didYouMean(found, issue.values.map(String))
        : ""
    }`,
    span: spanAt(tree, whole),
  }];
}

/** Of the branches of a union, speaks of the one that the value comes closest to. */
function faultsOfUnion(
  issue: Issue & { code: "invalid_union" },
  checked: Checked,
): Fault[] {
  const branches = issue.errors.filter((issues) =>
    issues.length > 0 && issues[0]!.message !== REFERENCE_EXPECTED
  ).map((issues) =>
    issues.map((it) => ({ ...it, path: [...issue.path, ...it.path] }))
  );
  const wrongTypes = branches.map((issues) => issues[0]!).filter((it) =>
    it.code === "invalid_type" && it.path.length === issue.path.length
  );
  if (wrongTypes.length === branches.length && wrongTypes.length > 0) {
    const expected = new Set(
      wrongTypes.map((it) =>
        typeName((it as Issue & { code: "invalid_type" }).expected)
      ),
    );
    return faultsOfIssue({
      code: "custom",
      path: issue.path,
      message: `expected ${[...expected].join(" or ")}`,
    } as Issue, checked);
  }
  const best = branches.toSorted((a, b) => closeness(b) - closeness(a))[0];
  return (best ?? []).flatMap((it) => faultsOfIssue(it, checked));
}

function closeness(issues: readonly Issue[]): number {
  const { path, code } = issues[0]!;
  return path.length * 2 + (code === "invalid_type" ? 0 : 1);
}

function expectation(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${typeName(issue.expected)}`;
    case "invalid_value":
      return `expected ${
        issue.values.map((value) => `"${String(value)}"`).join(" or ")
      }`;
    default:
      return uncapitalized(issue.message);
  }
}

function typeName(expected: string): string {
  const names: Record<string, string> = {
    array: "a list",
    boolean: "true or false",
    int: "an integer",
    number: "a number",
    object: "a mapping",
    record: "a mapping",
    string: "text",
  };
  return names[expected] ?? expected;
}

/** A value as a message quotes it. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (isMapping(value)) return "a mapping";
  const text = String(value);
  return `${typeof value === "string" ? "text " : ""}"${
    text.length > 80 ? text.slice(0, 80) + "..." : text
  }"`;
}

/** Says which reference a wrong value came from. */
function origin(tree: Tree, path: Path): string {
  let at: Tree | undefined = tree;
  for (const step of path) {
    at = at.children?.get(step as string | number);
    if (at === undefined) return "";
    if (typeof at.value === "string" && hasReference(at.value)) {
      return ` from "${at.value}"`;
    }
  }
  return "";
}

function valueAt(value: unknown, path: Path): unknown {
  for (const step of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[step];
  }
  return value;
}

/** Keys that a schema knows at a path, for suggestions. */
function knownKeys(schema: z.ZodType, path: Path): string[] {
  let at: z.core.$ZodType | undefined = schema;
  for (const step of path) {
    at = unwrap(at);
    if (at instanceof z.ZodObject) at = at.shape[String(step)];
    else if (at instanceof z.ZodArray) at = at.element;
    else if (at instanceof z.ZodRecord) at = at.valueType;
    else return [];
  }
  at = unwrap(at);
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

function unwrap(schema: z.core.$ZodType | undefined) {
  while (
    schema instanceof z.ZodOptional || schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault || schema instanceof z.ZodNullable
  ) schema = schema.def.innerType;
  return schema;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function uncapitalized(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

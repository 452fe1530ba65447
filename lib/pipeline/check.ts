/** Checks a pipeline file against its schema and describes its faults. */
import * as z from "zod";
import { didYouMean } from "./did_you_mean.ts";
import {
  describe,
  type FaultList,
  isMapping,
  type Mapping,
  type Path,
  valueAt,
} from "./faults.ts";
import { MERGE_KEY, referenceBehind } from "./references.ts";
import {
  Defaults,
  NO_REFERENCE,
  PipelineHead,
  StageDefinition,
} from "./schema.ts";

/** A stage before its references are resolved, without its faulty parts. */
export interface Definition {
  readonly name: string;
  readonly written: StageDefinition;
  /** Keys whose faulty values were left out. */
  readonly damaged: ReadonlySet<string>;
}

/** The valid parts of a pipeline file. */
export interface Definitions {
  /**
   * The file without its stages and defaults; undefined if it is no mapping.
   */
  readonly head: z.output<typeof PipelineHead> | undefined;
  /**
   * False if the parameters or profiles have faults, so that nothing can be
   * expanded.
   */
  readonly paramsSound: boolean;
  /** The valid part of the section `defaults`. */
  readonly defaults: z.output<typeof Defaults>;
  /** Valid stages by name. */
  readonly stages: ReadonlyMap<string, Definition>;
  /** Names of all stages, valid or not. */
  readonly names: ReadonlySet<string>;
}

/**
 * Checks a file against its schema.
 *
 * A faulty value does not hide other faults: it is reported and left out, and
 * the rest of its stage goes on to the following checks.
 *
 * @param file Value of the whole file.
 */
export function readDefinitions(
  file: unknown,
  faults: FaultList,
): Definitions {
  const head = readSection({
    file,
    at: [],
    schema: PipelineHead,
    value: file,
    owner: "the pipeline",
  }, faults);
  const root = isMapping(file) ? file : {};
  const entries = isMapping(root.stages) ? Object.entries(root.stages) : [];
  if (isMapping(root.stages) && entries.length === 0) {
    faults.addAtKey(["stages"], "The pipeline has no stages");
  }
  const { sound: defaults = Defaults.parse({}), damaged } = readSection({
    file,
    at: ["defaults"],
    schema: Defaults,
    value: root.defaults ?? {},
    owner: '"defaults"',
  }, faults);
  const stages = new Map<string, Definition>();
  for (const [name, value] of entries) {
    const stage = readSection({
      file,
      at: ["stages", name],
      schema: StageDefinition,
      value,
      owner: `stage "${name}"`,
    }, faults);
    if (stage.sound === undefined) continue;
    const all = stage.damaged.union(damaged);
    stages.set(name, { name, written: stage.sound, damaged: all });
  }
  return {
    head: head.sound,
    paramsSound: !head.damaged.has("params") && !head.damaged.has("profiles"),
    defaults,
    stages,
    names: new Set(entries.map(([name]) => name)),
  };
}

/**
 * A part of the file, checked against its schema: without what is faulty, which
 * damages a key; or undefined if it is no mapping.
 */
function readSection<T extends z.ZodObject>(
  checked: Checked & { readonly schema: T },
  faults: FaultList,
): { sound: z.output<T> | undefined; damaged: ReadonlySet<string> } {
  const { schema, value } = checked;
  const damaged = new Set<string>();
  const result = schema.safeParse(value);
  if (result.success) return { sound: result.data, damaged };
  reportIssues(result.error.issues, faults, checked);
  if (!isMapping(value)) {
    return { sound: undefined, damaged: new Set(Object.keys(schema.shape)) };
  }
  const sound: Mapping = structuredClone(value);
  for (const issue of result.error.issues) {
    for (const key of wrongKeys(issue)) {
      if (key in schema.shape) damaged.add(key);
      // What else is in a faulty mapping may have faults of other kinds.
      const [, inner] = issue.path;
      const within = sound[key];
      if (inner !== undefined && isMapping(within)) {
        delete within[String(inner)];
      } else delete sound[key];
    }
  }
  return { sound: schema.safeParse(sound).data, damaged };
}

function wrongKeys(issue: z.core.$ZodIssue): readonly string[] {
  const key = issue.path[0];
  if (key !== undefined) return [String(key)];
  return issue.code === "unrecognized_keys" ? issue.keys : [];
}

type Issue = z.core.$ZodIssue;

/** A checked value, and how messages refer to it. */
interface Checked {
  /** Value of the whole file. */
  readonly file: unknown;
  /** Path of the checked value in the file. */
  readonly at: Path;
  readonly schema: z.ZodType;
  /** The checked value. */
  readonly value: unknown;
  /** Owner of the keys: `stage "tokenize"`. */
  readonly owner: string;
  /**
   * Maps a path of the value to its path in the file, below `at`; the same path
   * if left out.
   */
  readonly inFile?: (path: Path) => Path;
}

/** Reports zod's issues as faults, in the terms of a pipeline file. */
export function reportIssues(
  issues: readonly Issue[],
  faults: FaultList,
  checked: Checked,
): void {
  const mistyped = new Set(
    issues.flatMap(({ code, path }) =>
      code === "invalid_type" ? path.join(".") : []
    ),
  );
  for (const issue of issues) {
    if (isOfLength(issue) && mistyped.has(issue.path.join("."))) continue;
    reportIssue(issue, faults, checked);
  }
}

/**
 * Whether an issue is about a length, which zod also compares if the value is a
 * list in place of text, or the reverse.
 */
function isOfLength(issue: Issue): boolean {
  return (issue.code === "too_small" || issue.code === "too_big") &&
    ["array", "string"].includes(issue.origin);
}

function reportIssue(issue: Issue, faults: FaultList, checked: Checked): void {
  const { file, at, schema, value, owner, inFile = (path) => path } = checked;
  if (issue.code === "invalid_union") {
    return reportUnion(issue, faults, checked);
  }
  const path = issue.path;
  const whole = [...at, ...inFile(path)];
  if (issue.code === "unrecognized_keys") {
    for (const key of issue.keys) {
      const written = [...at, ...inFile([...path, key])];
      const from = written.includes(MERGE_KEY) ? origin(file, written) : "";
      faults.addAtKey(
        written,
        `Unknown key "${[...path, key].join(".")}" of ${owner}${from}` +
          didYouMean(key, knownKeys(schema, path)),
      );
    }
    return;
  }
  if (issue.code === "invalid_key") {
    const reason = issue.issues[0]?.message ?? issue.message;
    return faults.addAtKey(
      whole,
      `Invalid name "${String(path.at(-1))}" in ${owner}: ${reason}`,
    );
  }
  const subject = path.length === 0 ? owner : `"${path.join(".")}" of ${owner}`;
  const actual = valueAt(value, path);
  if (actual === undefined) {
    return faults.addAtKey(
      whole,
      `${subject.replace(/^./, (it) => it.toUpperCase())} is missing`,
    );
  }
  const hint = issue.code === "invalid_value" && typeof actual === "string"
    ? didYouMean(actual, issue.values.map(String))
    : "";
  faults.addAt(
    whole,
    `Invalid ${subject.replace(/^the /, "")}: ${expectation(issue)}, got ${
      describe(actual)
    }${origin(file, whole)}${hint}`,
  );
}

/** Reports the branch of a union that the value comes closest to. */
function reportUnion(
  issue: Issue & { code: "invalid_union" },
  faults: FaultList,
  checked: Checked,
): void {
  const branches = issue.errors.filter((issues) =>
    issues.length > 0 && !isNoReference(issues[0]!)
  ).map((issues) =>
    issues.map((it) => ({ ...it, path: [...issue.path, ...it.path] }))
  );
  const wrongTypes = branches.map((issues) => issues[0]!).filter((it) =>
    it.code === "invalid_type" && it.path.length === issue.path.length
  );
  if (wrongTypes.length === branches.length && wrongTypes.length > 0) {
    const isNumber = typeof valueAt(checked.value, issue.path) === "number";
    const expected = new Set(
      wrongTypes.map((it) => {
        const { expected } = it as Issue & { code: "invalid_type" };
        return isNumber && expected === "number"
          ? "a finite number"
          : typeName(expected);
      }),
    );
    return reportIssue(
      {
        code: "custom",
        path: issue.path,
        message: `expected ${[...expected].join(" or ")}`,
      } as Issue,
      faults,
      checked,
    );
  }
  const best = branches.toSorted((a, b) => closeness(b) - closeness(a))[0];
  if (best !== undefined) return reportIssues(best, faults, checked);
  // A union that tells its branches by a key has none for this value.
  const options = "options" in issue ? issue.options : undefined;
  const plain = options === undefined
    ? { ...issue, code: "custom" }
    : { ...issue, code: "invalid_value", values: options };
  reportIssue(plain as Issue, faults, checked);
}

/** Whether an issue says only that a value is no reference. */
function isNoReference(issue: Issue): boolean {
  return issue.code === "custom" &&
    issue.params?.isReference === NO_REFERENCE.isReference;
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
      return issue.message.replace(/^./, (it) => it.toLowerCase());
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

/**
 * The reference that a faulty value came from: ` from "${params.lr}"`, or
 * empty.
 */
function origin(file: unknown, path: Path): string {
  const [text] = referenceBehind(file, path) ?? [];
  return text === undefined ? "" : ` from "${text}"`;
}

/** Keys that a schema has at a path, for suggestions. */
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

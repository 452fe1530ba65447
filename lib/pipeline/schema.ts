/** What a pipeline file may contain, as zod schemas. */
import * as z from "zod";

const BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

const SECONDS: Readonly<Record<string, number>> = {
  s: 1,
  m: 60,
  h: 3600,
  d: 86_400,
};

/** A number of bytes: `4GB`, `512 MiB`, or plain bytes. */
export const Bytes = z.union([
  z.number().int().nonnegative(),
  z.string().regex(/^\d+(\.\d+)? ?([KMGT]i?)?B$/, {
    error: 'Expected a size such as "4GB" or "512MiB"',
  }).transform((text) => {
    const [, amount, unit] = /^([\d.]+) ?(\w+)$/.exec(text)!;
    return Math.round(Number(amount) * BYTES[unit!]!);
  }),
]).describe("Size in bytes, or with a unit: 4GB (10^9), 4GiB (2^30)");

/** A number of seconds: `90s`, `1h30m`, or plain seconds. */
export const Duration = z.union([
  z.number().positive(),
  z.string().regex(/^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$/, {
    error: 'Expected a duration such as "90s", "30m" or "1h30m"',
  }).transform((text, context) => {
    let seconds = 0;
    for (const [, amount, unit] of text.matchAll(/(\d+)([dhms])/g)) {
      seconds += Number(amount) * SECONDS[unit!]!;
    }
    if (seconds > 0) return seconds;
    context.addIssue({
      code: "custom",
      message: "Expected a duration above zero",
    });
    return z.NEVER;
  }),
]).describe("Seconds, or with units: 90s, 30m, 1h30m, 2d");

const REFERENCE = /\$\{.+\}/;

/** Field `params` of the issue that a value is no reference. */
export const NO_REFERENCE = { isReference: false } as const;

/** A reference to a value that is known only when a stage is expanded. */
const Reference = z.custom<string>(
  (value) => typeof value === "string" && REFERENCE.test(value),
  {
    error: 'Expected a reference such as "${params.x}"',
    params: NO_REFERENCE,
  },
).meta({
  type: "string",
  pattern: REFERENCE.source,
  description: "A reference: ${params.x.y} or ${matrix.x}",
});

function orReference<T extends z.ZodType>(schema: T) {
  return z.union([schema, Reference]);
}

const name = (what: string) =>
  z.string().regex(/^[A-Za-z0-9][\w-]{0,99}$/, {
    error:
      `${what} consists of at most 100 letters, digits, "_" and "-", and begins with a letter or digit`,
  });

/** Name of a parameter or dimension, as references contain it. */
export const Key = z.string().regex(/^\w[\w-]{0,99}$/, {
  error:
    'A name consists of at most 100 letters, digits, "_" and "-", and does not begin with "-"',
});

/**
 * A value of a matrix dimension; it becomes part of stage ids and folder names.
 */
export const MatrixValue = z.union([
  z.string().regex(/^[A-Za-z0-9][\w.+-]{0,63}$/, {
    error:
      'Text in a matrix becomes part of a folder name, so it consists of at most 64 letters, digits, "_", ".", "+" and "-", and begins with a letter or digit; to use other text, choose a short name and add the text with "include"',
  }),
  z.number(),
]);

/**
 * A value of a matrix dimension, with references resolved, or a list whose
 * values take its place.
 */
export const MatrixItem = z.union([
  ...MatrixValue.options,
  z.array(MatrixValue),
]);

/** An entry of `include` or `exclude`, with references resolved. */
export const MatrixEntry = z.record(z.string(), z.unknown())
  .refine((entry) => Object.keys(entry).length > 0, {
    error: "Expected a mapping with at least one key",
  });

/** A part of a matrix that may be absent. */
export const List = z.array(z.unknown()).default([]);

const Combination = z.record(Key, z.unknown());

/** A matrix, before its references are resolved. */
export const Matrix = z.object({
  include: orReference(z.array(Combination)).optional().describe(
    "Adds keys to combinations, or whole combinations, as in GitHub Actions",
  ),
  exclude: orReference(z.array(Combination)).optional().describe(
    "Removes the combinations that have these values, as in GitHub Actions; a list stands for any of its values",
  ),
}).catchall(
  orReference(z.array(orReference(MatrixValue))).describe(
    "Values of a dimension",
  ),
).describe("One stage per combination of these values");

const InputReference = z.string().regex(
  /^[A-Za-z0-9][\w-]*(\[[\w\-*, ]+\])?$/,
  { error: 'Expected a stage such as "model", "train[seed]" or "train[*]"' },
);

/** Resources, with references resolved. */
const StageResources = z.strictObject({
  cpus: z.union([
    z.number().int().positive(),
    z.string().regex(/^all$/, { error: 'Expected a number or "all"' })
      .transform(() => navigator.hardwareConcurrency),
  ]).describe("Number of CPU cores that the stage uses, or all of this machine")
    .default(1),
  gpu: z.number().int().nonnegative().describe(
    "Number of GPUs that the stage holds while it runs",
  ).default(0),
  memory: Bytes.describe("Memory that the stage needs").default(0),
  time: Duration.optional().describe(
    "Time to reserve for a run on a batch system: 30m, 2h. The run is stopped after it, unless `timeout` is set",
  ),
});

/** Settings of a stage, with references resolved; a timeout is in seconds. */
export const StageSettings = z.object({
  resources: StageResources.prefault({}),
  mutex: z.string().min(1).max(100).optional(),
  retries: z.number().int().min(0).max(100).default(0),
  timeout: Duration.optional(),
});

const settings = StageSettings.shape;
const resources = StageResources.shape;

/**
 * What both a stage and `defaults` can have, before references are resolved:
 * what is absent stays so.
 */
const common = {
  inputs: z.record(
    z.string(),
    z.union([InputReference, z.array(InputReference).min(1)]),
  ).default({}).describe("Outputs of other stages by the name of the input"),
  resources: z.strictObject({
    cpus: orReference(resources.cpus.unwrap()),
    gpu: orReference(resources.gpu.unwrap()),
    memory: orReference(resources.memory.unwrap()),
    time: orReference(resources.time),
  }).partial().default({}).describe("Machine resources of the stage"),
  retries: orReference(settings.retries.unwrap()).optional().describe(
    "Number of retries after a failed run",
  ),
  timeout: orReference(settings.timeout).optional().describe(
    "Time limit of a run: 90s, 30m, 2h",
  ),
};

/**
 * What all stages have unless they say otherwise, before references are
 * resolved.
 */
export const Defaults = z.strictObject({
  with: z.record(z.string(), z.record(z.string(), z.unknown())).default({})
    .describe("Parameters by task"),
  ...common,
}).describe("What all stages have unless they say otherwise");

/** A stage, before its references are resolved. */
export const StageDefinition = z.strictObject({
  task: name("A task").describe("Task that the stage runs: a module of tasks/"),
  if: orReference(z.boolean().nullable()).optional().describe(
    "Leaves the stage out if it is false or null, as a parameter may be: ${params.test}",
  ),
  with: z.record(z.string(), z.unknown()).default({}).describe(
    "Parameters of the task",
  ),
  /** Checked by `readMatrix()`, after its references are resolved. */
  matrix: z.record(z.string(), z.unknown()).optional(),
  ...common,
  mutex: orReference(settings.mutex).optional().describe(
    "Stages with the same mutex never run at the same time",
  ),
});
export type StageDefinition = z.output<typeof StageDefinition>;

const shown = z.string().regex(/^[^/]+(\/(?!\.{1,2}(\/|$))[^/]+)+$/, {
  error: 'Expected STAGE/FILE, such as "report/report.md"',
});

/**
 * A pipeline file without its defaults and stages, which are checked one by
 * one.
 */
export const PipelineHead = z.strictObject({
  name: name("A pipeline's name").refine((it) => it !== "cache", {
    error: 'A pipeline cannot be named "cache"',
  }).describe(
    "Name of the pipeline and of its folder in the output folder",
  ),
  description: z.string().optional().describe("What the pipeline is for"),
  params: z.record(Key, z.unknown()).default({}).describe(
    "Values for references; -S KEY=VALUE overrides them",
  ),
  profiles: z.record(Key, z.record(z.string(), z.unknown())).default({})
    .describe("Named sets of parameter overrides; keys may be dot paths"),
  show: z.union([shown, z.array(shown)]).default([]).describe(
    "Files to print after a run: STAGE/FILE",
  ),
  defaults: z.unknown().optional(),
  stages: z.record(name("A stage's name"), z.unknown()).describe(
    "The stages by name",
  ),
});

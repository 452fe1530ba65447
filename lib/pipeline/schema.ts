import { z } from "zod";
import { Bytes, Duration } from "./quantity.ts";

/** What is said of a value that is neither sound nor a reference. */
export const REFERENCE_EXPECTED = 'Expected a reference such as "${params.x}"';

/** A reference to a value that is known only when a stage is expanded. */
const Reference = z.string({ error: REFERENCE_EXPECTED }).regex(/\$\{.+\}/, {
  error: REFERENCE_EXPECTED,
  abort: true,
}).describe("A reference: ${params.x.y} or ${matrix.x}");

function orReference<T extends z.ZodType>(schema: T) {
  return z.union([schema, Reference]);
}

const name = (what: string) =>
  z.string().regex(/^[A-Za-z0-9][\w-]{0,99}$/, {
    error:
      `${what} is made of letters, digits, "_" and "-", 100 of them at most`,
  });

/** Name of a parameter or of a dimension: what a reference can hold. */
export const Key = z.string().regex(/^\w[\w-]{0,99}$/, {
  error: 'A name is made of letters, digits, "_" and "-", 100 of them at most',
});

/** Why a text cannot be a matrix value. */
export const MATRIX_TEXT_RULE =
  `it becomes part of a folder's name, so it is made of letters, digits, "_", ".", "+" and "-", 64 of them at most; for other text give it a short name and add the text with "include"`;

/** A place in a matrix; its text becomes part of stage ids and of folder names. */
export const MatrixValue = z.union([
  z.string().regex(/^[A-Za-z0-9][\w.+-]{0,63}$/, {
    error: MATRIX_TEXT_RULE,
  }),
  z.number(),
]);

const Combination = z.record(Key, z.unknown());

/** A matrix as it is written. */
export const Matrix = z.object({
  include: orReference(z.array(Combination)).optional().describe(
    "Adds keys to combinations, or whole combinations, as in GitHub Actions",
  ),
  exclude: orReference(z.array(Combination)).optional().describe(
    "Removes the combinations that have all these values, as in GitHub Actions",
  ),
}).catchall(
  orReference(z.array(orReference(MatrixValue))).describe(
    "Values of a dimension",
  ),
).describe("One stage for each combination of these values");

const InputReference = z.string().regex(
  /^[A-Za-z0-9][\w-]*(\[[\w\-*, ]+\])?$/,
  {
    error:
      'Expected a stage such as "model", "tokenize[glue]", "train[glue, seed]" or "evaluate[*]"',
  },
);

/** Resources as they are once every reference is resolved. */
export const StageResources = z.strictObject({
  cpus: z.number().int().positive().default(1).describe(
    "Processors that the stage uses",
  ),
  gpu: z.number().int().nonnegative().default(0).describe(
    "GPUs that the stage holds while it runs",
  ),
  memory: Bytes.default(0).describe("Memory that the stage is expected to use"),
  time: Duration.optional().describe(
    "Time that a run may take, as a batch system reserves it: 30m, 2h. It is stopped after that, unless `timeout` says otherwise",
  ),
});

/** Settings of a stage as they are once every reference is resolved. */
export const StageSettings = z.object({
  resources: StageResources.prefault({}),
  mutex: z.string().min(1).max(100).optional(),
  retries: z.number().int().min(0).max(100).default(0),
  timeout: Duration.optional(),
});

const settings = StageSettings.shape;
const resources = StageResources.shape;

/** A stage as it is written. */
export const StageDefinition = z.strictObject({
  task: name("A task").describe("Task that the stage runs: a module of tasks/"),
  with: z.record(z.string(), z.unknown()).default({}).describe(
    "Parameters of the task",
  ),
  /** Read by `readMatrix()`, which sees its values with references resolved. */
  matrix: z.record(z.string(), z.unknown()).optional(),
  inputs: z.record(
    z.string(),
    z.union([InputReference, z.array(InputReference).min(1)]),
  ).default({}).describe("Outputs of other stages that this one reads"),
  resources: z.strictObject({
    cpus: orReference(resources.cpus),
    gpu: orReference(resources.gpu),
    memory: orReference(resources.memory),
    time: orReference(resources.time),
  }).partial().default({}).describe("What the stage takes of the machine"),
  mutex: orReference(settings.mutex).optional().describe(
    "Stages with the same mutex never run at the same time",
  ),
  retries: orReference(settings.retries).optional().describe(
    "How often a failed run is tried again",
  ),
  timeout: orReference(settings.timeout).optional().describe(
    "Time after which a run is stopped: 90s, 30m, 2h",
  ),
});
export type StageDefinition = z.output<typeof StageDefinition>;

const shown = z.string().regex(/^[^/]+\/.+$/, {
  error: 'Expected STAGE/FILE, such as "report/report.md"',
});

/** Everything of a pipeline file but its stages, which are checked one by one. */
export const PipelineHead = z.strictObject({
  name: name("A pipeline's name").refine((it) => it !== "cache", {
    error: 'A pipeline cannot be named "cache"',
  }).describe(
    "Name of the pipeline, and of its folder below the output folder",
  ),
  description: z.string().optional().describe("What the pipeline is for"),
  params: z.record(Key, z.unknown()).default({}).describe(
    "Values that references name; -S KEY=VALUE sets them",
  ),
  profiles: z.record(Key, z.record(z.string(), z.unknown())).default({})
    .describe("Sets of other values by name; keys may be dot paths"),
  show: z.union([shown, z.array(shown)]).default([]).describe(
    "Files to print after a run: STAGE/FILE",
  ),
  stages: z.record(name("A stage's name"), z.unknown()).describe(
    "The stages by name",
  ),
});
export type PipelineHead = z.output<typeof PipelineHead>;

/** The JSON Schema of pipeline files. */
import * as z from "zod";
import { MERGE_KEY } from "./references.ts";
import { Matrix, PipelineHead, StageDefinition } from "./schema.ts";
import type { Task } from "./task.ts";

type JsonSchema = Record<string, unknown>;

/**
 * The JSON Schema (draft 2020-12) of pipeline files, with the parameters and
 * inputs of each task, with which editors complete and check files.
 */
export function pipelineJsonSchema(
  tasks: ReadonlyMap<string, Task>,
): JsonSchema {
  const schema = toJson(PipelineHead);
  const stage = toJson(StageDefinition.extend({ matrix: Matrix.optional() }));
  const properties = stage.properties as JsonSchema;
  properties.task = {
    description: "Task that the stage runs",
    anyOf: [...tasks].map(([name, { description }]) => ({
      const: name,
      description,
    })),
  };
  stage.allOf = [...tasks].map(([name, task]) => ({
    if: { properties: { task: { const: name } }, required: ["task"] },
    then: taskPart(task),
  }));
  const head = schema.properties as JsonSchema;
  head.stages = { ...head.stages as JsonSchema, additionalProperties: stage };
  return {
    ...schema,
    title: "Pipeline",
    $defs: {
      reference: {
        type: "string",
        pattern: "\\$\\{.+\\}",
        description: "A reference: ${params.x.y} or ${matrix.x}",
      },
    },
  };
}

/** The part of the schema of a stage that depends on its task. */
function taskPart({ params, inputs }: Task): JsonSchema {
  const declared = toJson(params);
  const needed = Object.entries(inputs).filter(([, it]) => !it.optional);
  const withRequired = Array.isArray(declared.required);
  return {
    required: [
      ...(withRequired ? ["with"] : []),
      ...(needed.length > 0 ? ["inputs"] : []),
    ],
    properties: {
      with: withMergeKey(
        orReference({ ...declared, additionalProperties: false }),
      ),
      inputs: {
        type: "object",
        additionalProperties: false,
        required: needed.map(([name]) => name),
        properties: Object.fromEntries(
          Object.entries(inputs).map(([name, { kind, many }]) => [name, {
            description: many
              ? `Artifacts of kind "${kind}": STAGE[*], or a list of stages`
              : `An artifact of kind "${kind}"`,
            type: many ? ["string", "array"] : "string",
          }]),
        ),
      },
    },
  };
}

/** Adds the merge key, which may supply any of the required parameters. */
function withMergeKey(
  { required, properties, ...rest }: JsonSchema,
): JsonSchema {
  return {
    ...rest,
    properties: {
      ...properties as JsonSchema,
      [MERGE_KEY]: {
        anyOf: [
          { $ref: "#/$defs/reference" },
          { type: "array", items: { $ref: "#/$defs/reference" }, minItems: 1 },
        ],
        description:
          "Mapping whose parameters are merged: ${params.train}; of a list, the first mapping that has a parameter",
      },
    },
    ...(required === undefined
      ? {}
      : { anyOf: [{ required }, { required: [MERGE_KEY] }] }),
  };
}

/** The schema, with a reference allowed in place of every inner value. */
function orReference(schema: JsonSchema): JsonSchema {
  const inside = (part: unknown) => {
    const { description, default: usual, ...rest } = orReference(
      part as JsonSchema,
    );
    return {
      ...(description === undefined ? {} : { description }),
      ...(usual === undefined ? {} : { default: usual }),
      anyOf: [rest, { $ref: "#/$defs/reference" }],
    };
  };
  const result: JsonSchema = { ...schema };
  if (schema.properties !== undefined) {
    result.properties = Object.fromEntries(
      Object.entries(schema.properties as JsonSchema)
        .map(([name, part]) => [name, inside(part)]),
    );
  }
  for (const key of ["items", "additionalProperties"]) {
    if (typeof schema[key] === "object") result[key] = inside(schema[key]);
  }
  for (const key of ["anyOf", "allOf"]) {
    const branches = schema[key];
    if (Array.isArray(branches)) result[key] = branches.map(orReference);
  }
  if (Array.isArray(schema.oneOf)) {
    // A reference may match several branches.
    delete result.oneOf;
    result.anyOf = schema.oneOf.map(orReference);
  }
  return result;
}

function toJson(schema: z.ZodType): JsonSchema {
  const { $schema: _, ...json } = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
  });
  return json;
}

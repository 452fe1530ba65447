/** The JSON Schema of pipeline files. */
import * as z from "zod";
import { MERGE_KEY } from "./references.ts";
import { Defaults, Matrix, PipelineHead, StageDefinition } from "./schema.ts";
import type { Task } from "./task.ts";

type JsonSchema = Record<string, unknown>;

/**
 * The JSON Schema (draft 2020-12) of pipeline files, with the parameters and
 * inputs of each task, with which editors complete and check files. It requires
 * none of them, because `defaults` may have them.
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
  const defaults = toJson(Defaults);
  const general = defaults.properties as JsonSchema;
  general.with = {
    ...general.with as JsonSchema,
    additionalProperties: false,
    properties: Object.fromEntries(
      [...tasks].map(([name, { params }]) => [name, parametersOf(params)]),
    ),
  };
  const head = schema.properties as JsonSchema;
  head.defaults = defaults;
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
  return {
    properties: {
      with: parametersOf(params),
      inputs: {
        type: "object",
        additionalProperties: false,
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

/** The parameters of a task, with the merge key. */
function parametersOf(params: z.ZodType): JsonSchema {
  const { required: _, properties, ...rest } = orReference(toJson(params));
  return {
    ...rest,
    additionalProperties: false,
    properties: {
      ...properties as JsonSchema,
      [MERGE_KEY]: {
        anyOf: [
          { $ref: "#/$defs/reference" },
          { type: "object" },
          { type: "array", items: { type: ["string", "object"] }, minItems: 1 },
        ],
        description:
          "Mapping whose parameters are merged: ${params.train}; of a list, the first mapping that has a parameter",
      },
    },
  };
}

/** The schema, with a reference allowed in place of every inner value. */
function orReference(schema: JsonSchema): JsonSchema {
  const inside = (part: unknown) => {
    if (typeof part !== "object") return part;
    const { description, default: usual, ...rest } = orReference(
      part as JsonSchema,
    );
    const anyOf = [rest, { $ref: "#/$defs/reference" }];
    return { description, default: usual, anyOf };
  };
  const members = Object.entries(schema).map(([key, value]) => {
    if (Array.isArray(value) && /^(any|all|one)Of$/.test(key)) {
      // A reference may match several branches.
      return [key.replace("one", "any"), value.map(orReference)];
    }
    if (/^(items|additionalProperties)$/.test(key)) return [key, inside(value)];
    if (key !== "properties") return [key, value];
    const properties = Object.entries(value as JsonSchema)
      .map(([name, part]) => [name, inside(part)]);
    return [key, Object.fromEntries(properties)];
  });
  return Object.fromEntries(members);
}

function toJson(schema: z.ZodType): JsonSchema {
  const { $schema: _, ...json } = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
  });
  return json;
}

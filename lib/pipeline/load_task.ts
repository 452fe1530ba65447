import { z } from "zod";
import type { Task } from "./task.ts";

/**
 * Imports a task module and checks that it declares a task.
 *
 * @param module `file:` URL of the module.
 * @throws {Error} If the module cannot be imported, or does not
 * default-export a task; the message says what is wrong with it.
 */
export async function loadTask(module: string): Promise<Task> {
  const exported = await importModule(module);
  const result = Shape.safeParse(exported.default);
  if (!result.success) {
    const issue = result.error.issues[0];
    const where = issue?.path.length
      ? `"${issue.path.join(".")}" of its default export`
      : "its default export";
    throw new Error(
      `Task module "${module}" does not declare a task: ${where}: ${issue?.message}`,
    );
  }
  return exported.default as Task;
}

async function importModule(module: string): Promise<{ default?: unknown }> {
  try {
    return await import(module);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`Task module "${module}" cannot be imported: ${message}`, {
      cause: error,
    });
  }
}

const Input = z.strictObject({
  kind: z.string().min(1),
  many: z.boolean().optional(),
  optional: z.boolean().optional(),
});

const callable = z.custom<() => unknown>(
  (value) => typeof value === "function",
  "expected a function",
);

const Shape = z.strictObject({
  description: z.string(),
  params: z.instanceof(z.ZodObject, { error: "expected a zod object" }),
  inputs: z.record(z.string(), Input),
  output: z.strictObject({
    kind: z.string().min(1),
    files: z.array(z.string().min(1)),
  }),
  permissions: z.strictObject({
    net: z.boolean().optional(),
    env: z.array(z.string()).optional(),
    run: z.array(z.string()).optional(),
    write: callable.optional(),
    read: callable.optional(),
  }).optional(),
  sources: callable.optional(),
  needs: z.array(z.string()).optional(),
  timings: z.boolean().optional(),
  run: callable,
});

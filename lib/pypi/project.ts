import { join } from "node:path";

/**
 * Name of the variable with the path of the project, which only stages need.
 */
export const PROJECT_ENV = "DYLORA_PROJECT";

/**
 * Folder of the project, where `deno task` runs commands: paths in variables of
 * the user are relative to it. Stages run in folders of their own, as one file
 * of the cache, so a variable tells them.
 */
export function projectFolder(): string {
  return Deno.env.get(PROJECT_ENV) ?? join(import.meta.dirname!, "../..");
}

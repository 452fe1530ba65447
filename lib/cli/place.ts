import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { didYouMean } from "../pipeline/faults.ts";
import { UsageError } from "./exit.ts";

/** Folder of the project: where `deno.json`, `pipelines/` and `tasks/` are. */
export const PROJECT = fileURLToPath(new URL("../../", import.meta.url))
  .replace(/[\\/]$/, "");

/**
 * The file of a pipeline: a path as it is, or a name looked up in `pipelines/`.
 *
 * @throws {UsageError} If there is no pipeline of that name.
 */
export function findPipeline(nameOrFile: string): string {
  if (/[\\/]|\.ya?ml$/.test(nameOrFile)) return nameOrFile;
  const names = pipelineNames();
  if (names.includes(nameOrFile)) {
    const path = join(PROJECT, "pipelines", `${nameOrFile}.yaml`);
    return shortPath(path);
  }
  const hint = didYouMean(nameOrFile, names) ||
    `; there are ${names.map((name) => `"${name}"`).join(", ") || "none"}`;
  throw new UsageError(
    `There is no pipeline "${nameOrFile}" in pipelines/${hint}`,
  );
}

/**
 * A path the user gave, absolute. The current folder is named, because
 * `resolve` alone takes it from Node's `process`, which costs 10 ms to load.
 */
export function absolutePath(path: string): string {
  return resolve(Deno.cwd(), path);
}

/** A path as it is shown: from the current folder, if it lies below that. */
export function shortPath(path: string): string {
  const short = relative(Deno.cwd(), path);
  return short.startsWith("..") ? path : short;
}

/** Names of the pipelines in `pipelines/`, sorted. */
function pipelineNames(): string[] {
  try {
    return [...Deno.readDirSync(join(PROJECT, "pipelines"))]
      .flatMap(({ name }) => /^(.+)\.yaml$/.exec(name)?.[1] ?? []).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

import type { Setting } from "../../data/setting_error.ts";
import { shellWord } from "../../files/shell_word.ts";
import { defaultSettings, type Settings } from "../../scheduler/settings.ts";
import {
  ifThere,
  isFull,
  removeFolder,
  statIfThere,
} from "../../files/files.ts";
import { isLocked, tryLockFile } from "../../files/locks.ts";
import {
  basename,
  dirname,
  join,
  relativeIfBelow,
  resolve,
} from "../../files/paths.ts";
import { linkFingerprint } from "../../files/fingerprints.ts";
import {
  type Arguments,
  invalidValue,
  readOptions,
  UsageError,
} from "./arguments.ts";

/**
 * Folder of the project, which contains `deno.json`, `pipelines/` and `tasks/`.
 */
export const PROJECT = dirname(dirname(dirname(import.meta.dirname!)));

/** The pipeline for data of the user, which `init` copies and changes. */
export const OWN_DATA = "own-data";

/** Arguments of `deno` that run this program; those of a command follow. */
export const PROGRAM: readonly string[] = [
  "run",
  "-A",
  "--unstable-lazy-dynamic-imports",
  join(PROJECT, "lib/cli/main.ts"),
];

/** The version of the project, and its tasks with what each does. */
export function readProject() {
  const { version, tasks } = JSON.parse(
    Deno.readTextFileSync(join(PROJECT, "deno.json")),
  ) as { version: string; tasks: Record<string, { description?: string }> };
  const summaries = Object.entries(tasks).map(
    ([name, { description = "" }]) => [name, description] as const,
  );
  return { version, summaries };
}

export const JSON_LINES = "--json  Print JSON, one object per line";

export const FORCE =
  "-f, --force  Run the named stages, or all if none is named, even if their results are cached";

export const CACHE_LIMIT =
  "--cache-limit SIZE  Maximum size of the cache, from which the oldest results are removed (default 50GB)";

export const OUT =
  "--out DIR  Output folder, including the cache (default out)";

export const TASKS =
  "--tasks DIR  Folder of the task modules (default tasks). Only name one that you trust: planning imports its modules, with all rights of this program";

/** Options that determine the graph of a pipeline. */
export const GRAPH_OPTIONS = `
  -S, --set KEY=VALUE...  Set a parameter; KEY is a dotted path, VALUE is parsed as YAML
  --profile NAME  Use a profile of the pipeline: a named set of parameters
  --name NAME  Show the results in out/PIPELINE@NAME, not out/PIPELINE
  ${TASKS}
  ${OUT}`;

/** Selects what runs the stages. */
export const EXECUTOR =
  "--executor NAME{local,slurm}  Where stages run: local or slurm (default: the one in your profile, else local)";

export const ENGINE =
  "--engine NAME{auto,tensorflow,webgpu,wasm}  Compute engine: auto, tensorflow, webgpu or wasm (default auto: the first that works)";

const GPUS =
  '--gpus IDS  GPUs to use, such as 0,2, or "none", with which --engine auto selects the CPU (default: all visible GPUs)';

/** Options of what computes, a part of {@linkcode KEY_OPTIONS}. */
export const ENGINE_OPTIONS = `
  ${TASKS}
  ${ENGINE}
  ${GPUS}`;

/** Options that select the results of stages. */
export const KEY_OPTIONS = `${GRAPH_OPTIONS}
  ${ENGINE}
  ${GPUS}
  ${EXECUTOR}`;

/** Options that limit the resources of a run. */
export const LIMIT_OPTIONS = `
  -j, --jobs N  Run at most N stages at a time (default: one per CPU)
  --cpus N  Total CPUs of running stages (default: all)
  --memory SIZE  Total memory of running stages, such as 8GB (default: all)
  ${GPUS}`;

/**
 * The scheduler's settings according to the options.
 *
 * @throws {UsageError} If an option has an invalid value.
 */
export async function settingsOf(args: Arguments): Promise<Settings> {
  const settings = defaultSettings(PROJECT);
  const { limits } = settings;
  const cpus = args.integer("cpus", 1) ?? limits.cpus;
  return {
    ...settings,
    out: outOf(args),
    wait: !args.has("no-wait"),
    keepGoing: args.has("keep-going"),
    limits: {
      jobs: args.integer("jobs", 1) ?? cpus,
      cpus,
      memory: await sizeOf(args, "memory") ?? limits.memory,
      gpus: gpusOf(args) ?? limits.gpus,
    },
    cacheLimit: await sizeOf(args, "cache-limit") ?? settings.cacheLimit,
  };
}

/**
 * Ids of the GPUs in `--gpus`; undefined without the option.
 *
 * @throws {UsageError} If an id is repeated.
 */
export function gpusOf(args: Arguments): string[] | undefined {
  const text = args.value("gpus")?.trim();
  if (text === undefined) return undefined;
  if (text === "none") return [];
  const ids = text.split(",").map((id) => id.trim()).filter((id) => id !== "");
  const repeated = ids.find((id, i) => ids.indexOf(id) < i);
  if (repeated === undefined) return ids;
  throw new UsageError(`Option "--gpus" names GPU "${repeated}" twice`);
}

/**
 * The output folder, absolute.
 *
 * @throws {UsageError} If it cannot be a folder, or its path contains a comma,
 * which `--allow-read` would take for a separator.
 */
export function outOf(args: Arguments): string {
  const out = absolutePath(args.value("out") ?? join(PROJECT, "out"));
  const remedy = "choose another folder with --out";
  if (out.includes(",")) {
    throw new UsageError(
      `The path of the output folder "${out}" contains a comma, so Deno cannot grant stages access to it: ${remedy}`,
    );
  }
  checkFolder(out, remedy);
  return out;
}

/**
 * Checks that a folder exists or can be created.
 *
 * @param remedy What to do if it cannot
 * @throws {UsageError} Naming the file or the broken link that is in the way.
 */
export function checkFolder(folder: string, remedy: string): void {
  for (let path = absolutePath(folder);; path = dirname(path)) {
    const info = statIfThere(path);
    if (info?.isDirectory) return;
    // A folder here was made by another command since.
    if (info === undefined && !isLink(path)) continue;
    const what = info
      ? "a file"
      : `a link to "${Deno.readLinkSync(path)}", which does not exist`;
    throw new UsageError(`"${path}" is ${what}: ${remedy}`);
  }
}

function isLink(path: string): boolean {
  return ifThere(() => Deno.lstatSync(path))?.isSymlink ?? false;
}

/**
 * Creates the folder that `--to` names. It appears when it is complete.
 *
 * @param output Absolute path
 * @param write Gets a temporary folder; resolves to the folder in it that is to
 * be moved.
 * @throws {UsageError} If it exists, or cannot be created.
 */
export async function createFolder(
  output: string,
  write: (temporary: string) => Promise<string>,
): Promise<void> {
  // Deno can give a task no access to a path with a comma.
  const name = basename(output).replaceAll(",", "_");
  const temporary = join(dirname(output), `${name}.incomplete`);
  const remedy = "choose another folder with --to";
  const lock = join(temporary, ".lock");
  // One with a lock that nobody holds is of a process that was killed.
  const isLeft = statIfThere(lock)?.isFile && !isLocked(lock);
  if (isLeft) removeFolder(temporary);
  for (const path of [output, temporary]) {
    if (linkFingerprint(path) === undefined) continue;
    throw new UsageError(
      `"${shortPath(path)}" already exists: remove it, or ${remedy}`,
    );
  }
  checkFolder(output, remedy);
  await writingTo(dirname(output), remedy, async () => {
    Deno.mkdirSync(temporary, { recursive: true });
    using _lock = tryLockFile(lock);
    try {
      Deno.renameSync(await write(temporary), output);
    } finally {
      removeFolder(temporary);
    }
  });
}

/**
 * Does work that writes to a folder; the error of a full disk names it and the
 * remedy.
 */
export async function writingTo<T>(
  folder: string,
  remedy: string,
  work: () => T | Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isFull(error)) throw error;
    throw new Error(
      `No space left on the disk of "${folder}"; free some space, or ${remedy}`,
      { cause: error },
    );
  }
}

/** Appends the command that fixes the error: that with another setting. */
export function withSetting(
  message: string,
  setting: Setting,
  command: string,
  args: Arguments,
): string {
  const { name, value } = setting;
  const others = args.values("set").filter((it) => !it.startsWith(`${name}=`));
  const set = [...others, `${name}=${value}`];
  const words = [command, ...args.positionals];
  return `${message}\n  run: ${commandLine(args.with("set", set), words)}`;
}

/**
 * The name of the folder of a pipeline's results: `PIPELINE`, or
 * `PIPELINE@NAME` with `--name`.
 *
 * @throws {UsageError} If the name has other characters than letters, digits,
 * `_` and `-`, or more than 100.
 */
export function resultsName(args: Arguments, pipeline: string): string {
  const name = args.value("name");
  if (name === undefined) return pipeline;
  if (/^[\w-]{1,100}$/.test(name)) return `${pipeline}@${name}`;
  throw invalidValue(
    "name",
    name,
    'expected at most 100 letters, digits, "_" and "-"',
  );
}

/**
 * A command on a pipeline or its stages with the parameters and the engine of
 * these arguments, for a shell.
 */
export function stageCommand(
  command: string,
  args: Arguments,
  ...stages: readonly string[]
): string {
  return commandLine(args, [command, args.positionals[0]!, ...stages]);
}

/**
 * A command with those of some options that these arguments have, for a shell.
 */
export function commandLine(
  args: Arguments,
  words: readonly string[],
  options = KEY_OPTIONS,
): string {
  return ["deno", "task", ...words, ...givenWords(args, options)]
    .map(shellWord).join(" ");
}

/**
 * Those of some options that these arguments have, as words of a command line.
 */
export function givenWords(args: Arguments, options = KEY_OPTIONS): string[] {
  return readOptions(options).filter(({ name }) => args.has(name))
    .flatMap(({ name, short, value }) => {
      const flag = short === undefined ? `--${name}` : `-${short}`;
      return value === undefined
        ? [flag]
        : args.values(name).flatMap((value) => [flag, value]);
    });
}

/** The folder of the task modules, absolute. */
export function tasksOf(args: Arguments): string {
  return absolutePath(args.value("tasks") ?? join(PROJECT, "tasks"));
}

/**
 * The value of an option in bytes; undefined without the option.
 *
 * @throws {UsageError} If the value is not a size.
 */
export async function sizeOf(
  args: Arguments,
  name: string,
): Promise<number | undefined> {
  const text = args.value(name);
  if (text === undefined) return undefined;
  const { Bytes } = await import("../../pipeline/schema.ts");
  const { success, data } = Bytes.safeParse(
    /^\d+$/.test(text) ? Number(text) : text,
  );
  if (success) return data;
  throw invalidValue(name, text, "expected a size such as 8GB or 512MiB");
}

/**
 * Makes a path of the user absolute. Without the current folder, `resolve()`
 * would load Node's `process` to find it, which takes 10 ms.
 */
function absolutePath(path: string): string {
  return resolve(Deno.cwd(), path);
}

/** A path for display: relative if it is below the current folder. */
export function shortPath(path: string): string {
  return relativeIfBelow(Deno.cwd(), path);
}

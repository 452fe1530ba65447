import { join } from "node:path";
import { defaultSettings, type Settings } from "../scheduler/settings.ts";
import type { Given, Option } from "./arguments.ts";
import { UsageError } from "./exit.ts";
import { absolutePath, PROJECT } from "./place.ts";

export const HELP: Option = {
  name: "help",
  short: "h",
  description: "Show this text",
};

export const JSON_LINES: Option = {
  name: "json",
  description: "Print JSON, one object a line",
};

export const OUT: Option = {
  name: "out",
  value: "DIR",
  description:
    "Folder of everything produced, the cache included (default out)",
};

/** Options that decide what the graph of a pipeline is. */
export const GRAPH_OPTIONS: readonly Option[] = [
  {
    name: "set",
    short: "S",
    value: "KEY=VALUE",
    many: true,
    description:
      "Set a parameter; KEY is a dot path, VALUE has the type that it has in YAML",
  },
  {
    name: "profile",
    value: "NAME",
    description: "Use the parameters of this profile of the pipeline",
  },
  {
    name: "tasks",
    value: "DIR",
    description: "Folder of the task modules (default tasks)",
  },
  OUT,
];

export const ENGINE: Option = {
  name: "engine",
  value: "NAME",
  choices: ["auto", "tensorflow", "webgpu", "wasm"],
  description:
    "Engine that trains: auto, tensorflow, webgpu or wasm (default auto: the first that can run)",
};

export const GPUS: Option = {
  name: "gpus",
  value: "IDS",
  description:
    "GPUs that may be used, such as 0,2, or none, which makes auto choose the processor (default: all that can be seen)",
};

/** Options that limit what a run takes of the machine. */
export const LIMIT_OPTIONS: readonly Option[] = [
  {
    name: "jobs",
    short: "j",
    value: "N",
    description: "Run at most N stages at a time (default: one per processor)",
  },
  {
    name: "cpus",
    value: "N",
    description: "Processors that stages may use together (default: all)",
  },
  {
    name: "memory",
    value: "SIZE",
    description: "Memory that stages may use together: 8GB (default: all)",
  },
  GPUS,
];

/** How a pipeline is worked on, by the options given. */
export async function settingsOf(given: Given): Promise<Settings> {
  const settings = defaultSettings(PROJECT);
  const { limits } = settings;
  const cpus = given.number("cpus", 1) ?? limits.cpus;
  return {
    ...settings,
    out: outOf(given),
    wait: !given.has("no-wait"),
    keepGoing: given.has("keep-going"),
    limits: {
      jobs: given.number("jobs", 1) ?? cpus,
      cpus,
      memory: await sizeOf(given, "memory") ?? limits.memory,
      gpus: gpusOf(given) ?? limits.gpus,
    },
    cacheLimit: await sizeOf(given, "cache-limit") ?? settings.cacheLimit,
  };
}

/**
 * Ids of the GPUs that may be used; undefined if that is not said.
 *
 * @throws {UsageError} If one is given twice.
 */
export function gpusOf(given: Given): string[] | undefined {
  const text = given.value("gpus")?.trim();
  if (text === undefined) return undefined;
  if (text === "none") return [];
  const ids = text.split(",").map((id) => id.trim()).filter((id) => id !== "");
  const twice = ids.find((id, i) => ids.indexOf(id) < i);
  if (twice === undefined) return ids;
  throw new UsageError(`Option "--gpus" names GPU "${twice}" twice`);
}

/**
 * The output folder, absolute.
 *
 * @throws {UsageError} If its path has a comma, which no stage could be given access to.
 */
export function outOf(given: Given): string {
  const out = absolutePath(given.value("out") ?? join(PROJECT, "out"));
  if (!out.includes(",")) return out;
  throw new UsageError(
    `The output folder "${out}" has a comma in its path, and Deno cannot give a stage access to it: name another by "--out"`,
  );
}

/**
 * The value of an option as a number of bytes.
 *
 * @throws {UsageError} If it is none.
 */
export async function sizeOf(
  given: Given,
  name: string,
): Promise<number | undefined> {
  const text = given.value(name);
  if (text === undefined) return undefined;
  const { Bytes } = await import("../pipeline/quantity.ts");
  const { success, data } = Bytes.safeParse(
    /^\d+$/.test(text) ? Number(text) : text,
  );
  if (success) return data;
  throw new UsageError(
    `Option "--${name}" takes a size such as 8GB or 512MiB, not "${text}"`,
  );
}

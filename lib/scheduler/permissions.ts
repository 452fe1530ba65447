import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Permissions } from "../pipeline/task.ts";
import { type Failed, failed } from "./events.ts";
import type { Rules } from "./landlock.ts";
import type { Runtime } from "./settings.ts";

/**
 * Variables that Deno itself needs. The task cannot read them unless it
 * declares them.
 */
const DENO_ENV = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"];

/** What confines a stage's process. */
export interface Sandbox {
  /** Flags of Deno. */
  readonly flags: readonly string[];
  /** What native code may access; undefined without any. */
  readonly rules?: Rules;
}

/**
 * Permits a stage's process what its task declares and what its runtimes need,
 * and nothing else. Where runtimes need all of FFI, Deno cannot restrict their
 * native code; Landlock can, unless the task starts programs, which need wider
 * access. It fails if a path contains a comma: Deno 2.9 splits values there,
 * although its manual describes an escape.
 *
 * @param access Paths that it may access for its run.
 * @returns Flags of Deno, and rules for native code, if there is some.
 */
export function sandboxOf(
  permissions: Permissions,
  access: Pick<Rules, "read" | "write">,
  runtimes: readonly Runtime[],
): Sandbox | Failed {
  const { net = false, env = [], run = [] } = permissions;
  const write = [...access.write, ...permissions.write?.() ?? []];
  const read = [
    ...access.read,
    ...write,
    ...permissions.read?.() ?? [],
    ...runtimes.flatMap(({ read, sharedFiles }) => [
      ...read,
      ...sharedFiles?.read ?? [],
    ]),
  ];
  const split = [...read, ...run].find((value) => value.includes(","));
  if (split !== undefined) {
    return failed(
      `Deno cannot give a stage access to a path with a comma: copy or rename "${split}"`,
    );
  }
  const flags = [
    "--no-prompt",
    ...allow("read", read),
    ...allow("write", write),
    ...(net ? ["--allow-net"] : []),
    ...allow("env", [
      ...env,
      ...runtimes.flatMap(({ env }) => Object.keys(env)),
    ]),
    ...allow("run", run),
    ...runtimes.flatMap(({ flags }) => flags),
  ];
  if (!flags.includes("--allow-ffi") || run.length > 0) return { flags };
  const native = runtimes.flatMap((runtime) => runtime.native ?? []);
  const rules: Rules = {
    // Read only: whoever can write the compiled code there can change every
    // later stage, and the scheduler.
    read: [denoFolder(), ...read, ...native.flatMap(({ read }) => read)],
    write: [...write, ...native.flatMap(({ write }) => write)],
    net,
  };
  return { flags, rules };
}

/**
 * The flag that grants a permission (`read`, `write`, `env`, `run`) for some
 * values; none if there are no values.
 */
function allow(name: string, values: readonly string[]): string[] {
  const distinct = new Set(values);
  return distinct.size === 0 ? [] : [`--allow-${name}=${[...distinct]}`];
}

/**
 * Environment of a stage's process: what Deno and the runtimes need and what
 * the task declares, with a fixed time zone and language.
 *
 * @param project Folder of the project, which a task may declare as
 * `DYLORA_PROJECT`.
 */
export function stageEnvironment(
  permissions: Permissions,
  runtimes: readonly Runtime[],
  temporary: string,
  project: string,
): Record<string, string> {
  const names = [...DENO_ENV, ...permissions.env ?? []];
  const valueOf = (name: string) =>
    name === "DYLORA_PROJECT" ? project : Deno.env.get(name);
  const declared = names.map((name) => [name, valueOf(name)])
    .filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(declared),
    // It may be relative, and the stage runs in a folder of its declared.
    ...(Deno.env.get("DENO_DIR") && { DENO_DIR: denoFolder() }),
    NO_COLOR: "1",
    TZ: "UTC",
    LC_ALL: "C.UTF-8",
    TMPDIR: temporary,
    ...Object.assign({}, ...runtimes.map((runtime) => runtime.env)),
  };
}

/** Absolute path of the folder of Deno's caches. */
export function denoFolder(): string {
  const cache = Deno.build.os === "darwin"
    ? join(homedir(), "Library", "Caches")
    : Deno.env.get("XDG_CACHE_HOME") || join(homedir(), ".cache");
  return resolve(Deno.env.get("DENO_DIR") || join(cache, "deno"));
}

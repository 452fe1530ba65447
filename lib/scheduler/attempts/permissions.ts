import type { Permissions } from "../../pipeline/task.ts";
import type { Runtime } from "../events.ts";
import { StageFailure } from "../failure.ts";

/** Folders and files that a stage's process may touch because of its place in a run. */
export interface Access {
  readonly read: readonly string[];
  readonly write: readonly string[];
}

/** Variables that Deno itself needs; the task cannot read them unless it declares them. */
const RUNTIME_ENV = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"];

/**
 * Flags of Deno that let a stage's process do what its task declares and
 * what its runtimes need, and nothing else.
 *
 * @throws {StageFailure} If a path that it needs has a comma.
 */
export function permissionFlags(
  permissions: Permissions,
  access: Access,
  runtimes: readonly Runtime[],
): string[] {
  const { net, env = [], run = [], read, write } = permissions;
  const writable = [...access.write, ...write?.() ?? []];
  const readable = [
    ...access.read,
    ...writable,
    ...read?.() ?? [],
    ...runtimes.flatMap((runtime) => runtime.read),
  ];
  const variables = [
    ...env,
    ...runtimes.flatMap(({ env }) => Object.keys(env)),
  ];
  return [
    "--no-prompt",
    ...list("read", readable),
    ...list("write", writable),
    ...(net === true ? ["--allow-net"] : []),
    ...list("env", variables),
    ...list("run", run),
    ...runtimes.flatMap((runtime) => runtime.flags),
  ];
}

/** The environment of a stage's process: what Deno needs, what the task declares, and nothing that differs by place or language. */
export function stageEnvironment(
  permissions: Permissions,
  runtimes: readonly Runtime[],
  temporary: string,
): Record<string, string> {
  const names = [...RUNTIME_ENV, ...permissions.env ?? []];
  const own = names.map((name) => [name, Deno.env.get(name)])
    .filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(own),
    NO_COLOR: "1",
    TZ: "UTC",
    LC_ALL: "C.UTF-8",
    TMPDIR: temporary,
    ...Object.assign({}, ...runtimes.map((runtime) => runtime.env)),
  };
}

/**
 * The flag that permits something for the values given, or none.
 *
 * @throws {StageFailure} If a value has a comma, which parts the values in Deno 2.9 in spite of its documented escape.
 */
export function list(name: string, values: readonly string[]): string[] {
  const parted = values.find((value) => value.includes(","));
  if (parted !== undefined) {
    throw new StageFailure(
      `Deno cannot give a stage access to a path with a comma: copy or rename "${parted}"`,
    );
  }
  const distinct = [...new Set(values)];
  return distinct.length === 0 ? [] : [`--allow-${name}=${distinct.join()}`];
}

import type { Permissions } from "../../pipeline/task.ts";
import type { Facility } from "../events.ts";

/** Folders and files that a stage's process may touch because of its place in a run. */
export interface Access {
  readonly read: readonly string[];
  readonly write: readonly string[];
}

/** Variables that the runtime itself needs; the task cannot read them unless it declares them. */
const RUNTIME_ENV = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"];

/**
 * Flags of the runtime that let a stage's process do what its task declares and
 * what its facilities need, and nothing else.
 */
export function permissionFlags(
  permissions: Permissions,
  access: Access,
  facilities: readonly Facility[],
): string[] {
  const { net, env = [], run = [], read, write } = permissions;
  const writable = [...access.write, ...write?.() ?? []];
  const readable = [
    ...access.read,
    ...writable,
    ...read?.() ?? [],
    ...facilities.flatMap((facility) => facility.read),
  ];
  const variables = [
    ...env,
    ...facilities.flatMap(({ env }) => Object.keys(env)),
  ];
  return [
    "--no-prompt",
    ...list("read", readable),
    ...list("write", writable),
    ...(net === true ? ["--allow-net"] : []),
    ...list("env", variables),
    ...list("run", run),
    ...facilities.flatMap((facility) => facility.flags),
  ];
}

/** The environment of a stage's process: what the runtime needs, what the task declares, and nothing that differs by place or language. */
export function stageEnvironment(
  permissions: Permissions,
  facilities: readonly Facility[],
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
    ...Object.assign({}, ...facilities.map((facility) => facility.env)),
  };
}

function list(name: string, values: readonly string[]): string[] {
  const escaped = [...new Set(values)].map((value) =>
    value.replaceAll(",", ",,")
  );
  return escaped.length === 0 ? [] : [`--allow-${name}=${escaped.join()}`];
}

import { fileURLToPath } from "node:url";
import { replaceText } from "../files/files.ts";

/** What a confined process may do with files and the network. */
export interface Rules {
  /** Files and folders that it may read and execute. */
  readonly read: readonly string[];
  /** Files and folders that it may read and change. */
  readonly write: readonly string[];
  /** True if it may use the network. */
  readonly net: boolean;
}

/** Paths that the programs and libraries of a system read. */
const SYSTEM = [
  ...["/usr", "/bin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"],
  ...["ld.so.cache", "ld.so.conf", "ld.so.preload", "localtime"]
    .map((name) => `/etc/${name}`),
  ...["nsswitch.conf", "passwd", "group", "nvidia", "vulkan", "OpenCL"]
    .map((name) => `/etc/${name}`),
  // Landlock itself denies access to the memory, environment and files of other processes in /proc.
  ...["/proc", "/sys", "/run/opengl-driver"],
];

const LAUNCH = fileURLToPath(new URL("launch.ts", import.meta.url));

/**
 * Arguments of Deno that start `launch.ts`, which confines itself and then
 * becomes `deno` with other arguments.
 *
 * @param args The other arguments.
 * @param rules Access besides that to the system's libraries, Deno and GPUs.
 * @param note Path of the file that passes the rules to the launcher.
 */
export function confined(
  args: readonly string[],
  { read, write, net }: Rules,
  note: string,
): string[] {
  const all: Rules = {
    read: [...SYSTEM, Deno.execPath(), ...read],
    write,
    net,
  };
  replaceText(note, JSON.stringify(all));
  return [
    ...["run", "--quiet", "--no-check", "--no-config", "--no-lock"],
    ...["--no-remote", "--cached-only", "--no-npm", "--no-code-cache"],
    // It runs for milliseconds, so threads and compiled code cost more than they save.
    ...["--v8-flags=--single-threaded,--jitless", "-A"],
    ...[LAUNCH, note, Deno.execPath()],
    ...args,
  ];
}

let known: boolean | undefined;

/** True if the kernel has Landlock (Linux 5.13 or later, unless it is disabled). */
export function hasLandlock(): boolean {
  return known ??= Deno.build.os === "linux" && version() > 0;
}

/** Number and flag of `landlock_create_ruleset()` that ask for the version. */
const CREATE_RULESET = 444n;
const CREATE_RULESET_VERSION = 1;

function version(): number {
  let libc;
  try {
    libc = Deno.dlopen("libc.so.6", {
      syscall: {
        parameters: ["i64", "buffer", "usize", "u32"],
        result: "i64",
      },
    });
  } catch (error) {
    // Not glibc: no engine with native code runs here.
    if (error instanceof Deno.errors.NotCapable) throw error;
    return 0;
  }
  const { syscall } = libc.symbols;
  return Number(syscall(CREATE_RULESET, null, 0n, CREATE_RULESET_VERSION));
}

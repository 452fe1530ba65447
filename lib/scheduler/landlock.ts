/**
 * Rules for native code, which Landlock enforces. As a program,
 * `landlock.ts RULES.json PROGRAM ARGUMENT...`, this module confines itself and
 * then becomes the other program: a domain of Landlock belongs to the thread
 * that asks for it, and a runtime has other threads before its first line runs;
 * `execve()` ends them, and all of the new program is in the domain. It imports
 * nothing, since a stage waits for it.
 */

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
  "/usr",
  "/bin",
  "/lib",
  "/lib32",
  "/lib64",
  "/nix/store",
  "/gnu/store",
  "/etc/ld.so.cache",
  "/etc/ld.so.conf",
  "/etc/ld.so.preload",
  "/etc/localtime",
  "/etc/nsswitch.conf",
  "/etc/passwd",
  "/etc/group",
  "/etc/nvidia",
  "/etc/vulkan",
  "/etc/OpenCL",
  // Landlock itself denies access to the memory, environment and files of other
  // processes in /proc.
  "/proc",
  "/sys",
  "/run/opengl-driver",
];

/**
 * Arguments of Deno that start this module, which confines itself and then
 * becomes `deno` with other arguments; these without rules or without Landlock.
 *
 * @param args The other arguments.
 * @param rules Access besides that to the system's libraries, Deno and GPUs.
 * @param note Path of the file that passes the rules to the program.
 * @param log Called with what follows if there is no Landlock.
 */
export function confined(
  args: readonly string[],
  rules: Rules | undefined,
  note: string,
  log: (line: string) => void,
): string[] {
  if (rules === undefined) return [...args];
  if (!hasLandlock()) {
    log("Native code can read every file of the user: there is no Landlock");
    return [...args];
  }
  const read = [...SYSTEM, Deno.execPath(), ...rules.read];
  Deno.writeTextFileSync(note, JSON.stringify({ ...rules, read }));
  return [
    "run",
    "--quiet",
    "--no-check",
    "--no-config",
    "--no-lock",
    "--no-remote",
    "--cached-only",
    "--no-npm",
    "--no-code-cache",
    // It runs for milliseconds, so threads and compiled code cost more than
    // they save.
    "--v8-flags=--single-threaded,--jitless",
    "-A",
    import.meta.filename!,
    note,
    Deno.execPath(),
    ...args,
  ];
}

/**
 * True if the kernel has Landlock (Linux 5.13 or later, unless it is disabled).
 */
export function hasLandlock(): boolean {
  try {
    return Deno.build.os === "linux" && versionOf(libc()) > 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    // Not glibc: no engine with native code runs here.
    return false;
  }
}

/**
 * Numbers of system calls, the same on all processors, but for the one of keys.
 */
const CREATE_RULESET = 444n;
const ADD_RULE = 445n;
const RESTRICT_SELF = 446n;

const KEYCTL = Deno.build.arch === "x86_64" ? 250n : 219n;
const KEYCTL_GET_KEYRING_ID = 0n;
const KEYCTL_JOIN_SESSION_KEYRING = 1n;
const SESSION_KEYRING = -3n;

const CREATE_RULESET_VERSION = 1n;
const RULE_PATH_BENEATH = 1n;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const CAP_SYS_ADMIN = 21n;
const CAP_PERFMON = 38n;
const O_PATH_CLOEXEC = 0o10000000 | 0o2000000;

/** Rights of `linux/landlock.h`, in the order of their bits. */
const RIGHTS = [
  ..."EXECUTE WRITE_FILE READ_FILE READ_DIR REMOVE_DIR REMOVE_FILE".split(" "),
  ..."MAKE_CHAR MAKE_DIR MAKE_REG MAKE_SOCK MAKE_FIFO MAKE_BLOCK".split(" "),
  ..."MAKE_SYM REFER TRUNCATE IOCTL_DEV".split(" "),
];

function rights(names: string): bigint {
  const bits = names.split(" ").map((name) => BigInt(RIGHTS.indexOf(name)));
  return bits.reduce((sum, bit) => sum | 1n << bit, 0n);
}

const READ = rights("EXECUTE READ_FILE READ_DIR");
const CHANGE = "READ_FILE READ_DIR WRITE_FILE TRUNCATE";
const DEVICE = rights(`${CHANGE} IOCTL_DEV`);
const WRITE = rights(
  `${CHANGE} REMOVE_DIR REMOVE_FILE MAKE_DIR MAKE_REG MAKE_SYM REFER`,
);
/** Those that apply to files. */
const ON_FILES = rights("EXECUTE WRITE_FILE READ_FILE TRUNCATE IOCTL_DEV");

/**
 * Devices without data of other processes, and GPUs. Matched where the stage
 * runs, which may be a node of a cluster.
 */
const DEVICES = /^(null|zero|full|u?random|nvidia.*|dxg|kfd|dri)$/;

/** Number of rights that each version of Landlock knows, from version 1. */
const KNOWN_RIGHTS = [13, 14, 15, 15, 16];
/**
 * Versions since which connections, and signals and abstract sockets, can be
 * denied.
 */
const SINCE_NET = 4;
const SINCE_SCOPES = 6;
const BIND_AND_CONNECT = 0b11n;
const SOCKETS_AND_SIGNALS = 0b11n;

/** The functions of the C library that this module calls. */
const LIBC = {
  syscall: { parameters: ["i64", "i64", "i64", "i64", "i64"], result: "i64" },
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  execv: { parameters: ["buffer", "buffer"], result: "i32" },
} as const;

type Libc = Deno.DynamicLibrary<typeof LIBC>["symbols"];

function libc(): Libc {
  return Deno.dlopen("libc.so.6", LIBC).symbols;
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

function versionOf({ syscall }: Libc): number {
  return Number(syscall(CREATE_RULESET, 0n, 0n, CREATE_RULESET_VERSION, 0n));
}

function addressOf(bytes: BufferSource): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
}

function confine({ read, write, net }: Rules): void {
  const symbols = libc();
  const { open, prctl, syscall } = symbols;
  const version = versionOf(symbols);
  if (version < 1) throw new Error("The kernel has no Landlock");
  const count = KNOWN_RIGHTS[version - 1] ?? KNOWN_RIGHTS.at(-1)!;
  const handled = (1n << BigInt(count)) - 1n;
  const attributes = new BigUint64Array([
    handled,
    ...(version >= SINCE_NET ? [net ? 0n : BIND_AND_CONNECT] : []),
    ...(version >= SINCE_SCOPES ? [SOCKETS_AND_SIGNALS] : []),
  ]);
  const size = BigInt(attributes.byteLength);
  const ruleset = syscall(
    CREATE_RULESET,
    addressOf(attributes),
    size,
    0n,
    0n,
  );
  if (ruleset < 0n) throw new Error("Landlock rejected the rule set");
  const allow = (path: string, access: bigint) => {
    const parent = open(cString(path), O_PATH_CLOEXEC);
    if (parent < 0) return; // It does not exist.
    const { isDirectory } = Deno.statSync(path);
    const rule = new DataView(new ArrayBuffer(12));
    const allowed = access & handled & (isDirectory ? ~0n : ON_FILES);
    rule.setBigUint64(0, allowed, true);
    rule.setInt32(8, parent, true);
    const at = addressOf(rule);
    if (syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, at, 0n) !== 0n) {
      throw new Error(`Landlock rejected the rule for "${path}"`);
    }
  };
  read.forEach((path) => allow(path, READ));
  write.forEach((path) => allow(path, WRITE));
  for (const { name } of Deno.readDirSync("/dev")) {
    if (DEVICES.test(name)) allow(`/dev/${name}`, DEVICE);
  }
  // With these capabilities, root reads the environment of every process in
  // /proc. Other users have none to drop.
  for (const capability of [CAP_SYS_ADMIN, CAP_PERFMON]) {
    prctl(PR_CAPBSET_DROP, capability, 0n, 0n, 0n);
  }
  // A new session keyring instead of the user's. Containers may deny both
  // calls, then to the stage as well.
  if (
    syscall(KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, 0n, 0n, 0n) < 0n &&
    syscall(KEYCTL, KEYCTL_GET_KEYRING_ID, SESSION_KEYRING, 0n, 0n) >= 0n
  ) throw new Error("The kernel gave the process no session keyring");
  if (
    prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) !== 0 ||
    syscall(RESTRICT_SELF, ruleset, 0n, 0n, 0n) !== 0n
  ) throw new Error("Landlock rejected the restriction of the process");
}

function become(program: readonly string[]): never {
  const strings = program.map(cString);
  const argv = new BigUint64Array([...strings.map(addressOf), 0n]);
  libc().execv(strings[0]!, argv);
  throw new Error(`Cannot start "${program[0]}"`);
}

if (import.meta.main) {
  const [rules, ...program] = Deno.args;
  confine(JSON.parse(Deno.readTextFileSync(rules!)));
  become(program);
}

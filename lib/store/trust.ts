/**
 * Finds out whether the metadata of a file shows every change of its content.
 * It does not while a process may write to the file through a mapping: Linux
 * sets the times at the first write to a page, and not again until the page has
 * been flushed. Neither does it on file systems that do not set the time of the
 * last change (ctime) by their own clock.
 */
import { dirname } from "./paths.ts";

/** How far the metadata of a file can be trusted. */
interface Trust {
  /** True if a process has the file open for writing, or mapped. */
  readonly written: boolean;
  /** Milliseconds after the last change until a further change is sure to show. Infinity if it may never show; undefined for the tick of the clock. */
  readonly settles: number | undefined;
}

/** Times of a file, in milliseconds since 1970. */
interface Times {
  /** mtime. */
  readonly modified: number;
  /** ctime. */
  readonly changed: number;
}

/**
 * Milliseconds after which Linux has flushed a written page (30 s until it is
 * due, 5 s until the flusher wakes, with some reserve), so that the next write
 * through a mapping sets the times. It counts where writers cannot be seen.
 */
const FLUSHED = 60_000;

/** Local file systems whose kernel code sets the ctime at every change. */
const LOCAL = new Set(
  "bcachefs btrfs ext2 ext3 ext4 f2fs jfs nilfs2 reiserfs xfs zfs".split(" "),
);

/** File systems that get the ctime from a server or from the file systems below them. */
const RELAYED = new Set(
  "9p afs beegfs ceph cifs gpfs lustre nfs nfs4 overlay smb3 virtiofs wekafs"
    .split(" "),
);

/** Images, whose builder wrote the times; FAT, which has no ctime; memory, where writes through a mapping set no times. */
const NEVER = new Set(
  "cramfs erofs exfat hugetlbfs iso9660 msdos ramfs romfs squashfs tmpfs udf vfat"
    .split(" "),
);

/**
 * Finds out how far the metadata of a file can be trusted.
 *
 * @param path Absolute path.
 * @param times Its times, read before this call; earlier changes are known.
 */
export function trustIn(path: string, times: Times): Trust {
  if (Deno.build.os !== "linux") return { written: false, settles: FLUSHED };
  const mount = mountOf(path);
  const writers = writersOf(path, mount);
  const written = writers === "some";
  if (written || !keepsChanges(mount, times)) {
    return { written, settles: Infinity };
  }
  return { written, settles: writers === "none" ? undefined : FLUSHED };
}

function keepsChanges(
  mount: Mount | undefined,
  { modified, changed }: Times,
): boolean {
  if (mount === undefined || NEVER.has(mount.type)) return false;
  if (LOCAL.has(mount.type) && !mount.readOnly) return true;
  // Another image may have been mounted, with times that its builder chose.
  const isFixed = changed === modified && changed % 1000 === 0;
  if (LOCAL.has(mount.type) || RELAYED.has(mount.type)) return !isFixed;
  // Unknown or FUSE: a ctime that differs from the mtime is a real one.
  return changed > modified;
}

/** A mounted file system. */
interface Mount {
  readonly point: string;
  /** `ext4`, `nfs4`, `fuse.sshfs`. */
  readonly type: string;
  /** True if the file system as a whole is mounted read-only, as images are. */
  readonly readOnly: boolean;
}

let mounts: readonly Mount[] = [];
let mountsText = "";

/** The mount that has the file; undefined if it has been removed. */
function mountOf(path: string): Mount | undefined {
  // Read each time, since an image may have been mounted just now.
  const text = Deno.readTextFileSync("/proc/self/mountinfo");
  if (text !== mountsText) mounts = parseMounts(text);
  mountsText = text;
  let folder: string;
  try {
    folder = dirname(Deno.realPathSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const around = mounts.filter(({ point }) =>
    point === "/" || folder === point || folder.startsWith(`${point}/`)
  );
  // Of several mounts at one point, the last one hides the others.
  return around.sort((a, b) => a.point.length - b.point.length).at(-1);
}

/** Parses `/proc/self/mountinfo` (proc_pid_mountinfo(5)). */
function parseMounts(text: string): Mount[] {
  return text.trimEnd().split("\n").map((line) => {
    const [own = "", file = ""] = line.split(" - ");
    const [type = "", , options = ""] = file.split(" ");
    return {
      point: own.split(" ")[4]!.replaceAll(
        /\\(\d{3})/g,
        (_, octal) => String.fromCharCode(parseInt(octal, 8)),
      ),
      type,
      readOnly: options.split(",").includes("ro"),
    };
  });
}

/** Constants of Linux: fcntl(2), errno(3). */
const O_RDONLY = 0;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const F_SETSIG = 10;
const F_SETLEASE = 1024;
const F_RDLCK = 0;
const F_UNLCK = 2;
const EAGAIN = 11;
/** Sent when a lease is broken; ignored unless there is a handler. */
const SIGURG = 23;

function libc() {
  return Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  }).symbols;
}

let found: ReturnType<typeof libc> | undefined;

/**
 * Whether a process has the file open for writing or mapped shared and writable:
 * the kernel grants a read lease only if none has. Unknown where it grants none:
 * for files of other users and on some file systems. Of a file on an overlay,
 * mappings do not count.
 */
function writersOf(
  path: string,
  mount: Mount | undefined,
): "none" | "some" | "unknown" {
  const { open, fcntl, close, __errno_location } = found ??= libc();
  const bytes = new TextEncoder().encode(`${path}\0`);
  const file = open(bytes, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return "unknown";
  try {
    fcntl(file, F_SETSIG, SIGURG);
    if (fcntl(file, F_SETLEASE, F_RDLCK) === 0) {
      fcntl(file, F_SETLEASE, F_UNLCK);
      return mount?.type === "overlay" ? "unknown" : "none";
    }
    const errno = __errno_location();
    return errno !== null &&
        new Deno.UnsafePointerView(errno).getInt32() === EAGAIN
      ? "some"
      : "unknown";
  } finally {
    close(file);
  }
}

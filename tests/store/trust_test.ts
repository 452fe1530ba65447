import { assert, assertEquals } from "@std/assert";
import { setTimeout as sleep } from "node:timers/promises";
import { digest } from "../../lib/store/digest.ts";
import { fingerprint, Stats } from "../../lib/store/stats.ts";
import { trustIn } from "../../lib/store/trust.ts";
import { MappedFile } from "./mapped_file.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

const isLinux = Deno.build.os === "linux";

/** A memory file system that every Linux has. */
const MEMORY = "/dev/shm";

/** Milliseconds after which the times of a file are trusted. */
const SETTLED = 2_100;

/** Digest of a file for a process that has just started, and which remembers it. */
async function digestOf(file: string, memo: string) {
  const stats = new Stats(memo);
  const found = await stats.digest(file);
  await stats.save();
  return found;
}

/** Writes to a file through a mapping that did not exist before. */
function writeMapped(file: string, text: string): void {
  using mapped = new MappedFile(file);
  // A page in memory that is read first is writable at once.
  assertEquals(mapped.bytes[0], "o".charCodeAt(0));
  mapped.write(text);
}

Deno.test(
  "Stats.digest() notices changes through mappings, which leave the times as they are",
  { ignore: !isLinux },
  async () => {
    using folder = new TemporaryFolder();
    const memo = folder.join("stats.json");
    const memory = Deno.makeTempDirSync({ dir: MEMORY });
    // On a disk and in memory, mapped before; in memory, mapped later.
    const files = [folder.join("a"), `${memory}/b`, `${memory}/c`];
    for (const file of files) Deno.writeTextFileSync(file, "old!");
    const mapped = files.slice(0, 2).map((file) => new MappedFile(file));
    const [disk, shared] = mapped;
    const writes = [
      () => disk!.write("new!"),
      () => shared!.write("new!"),
      () => writeMapped(files[2]!, "new!"),
    ];
    try {
      // The first write sets the times.
      mapped.forEach((it) => it.write("old!"));
      await sleep(SETTLED);
      for (const [i, file] of files.entries()) {
        const times = fingerprint(file);
        assertEquals(await digestOf(file, memo), digest("old!"), file);
        writes[i]!();
        // On the disk, the page may have been flushed meanwhile.
        if (i > 0) assertEquals(fingerprint(file), times, file);
        assertEquals(await digestOf(file, memo), digest("new!"), file);
      }
    } finally {
      mapped.forEach((it) => it[Symbol.dispose]());
      Deno.removeSync(memory, { recursive: true });
    }
  },
);

Deno.test(
  "trustIn() sees a file that is open for writing, and one that no process has open",
  { ignore: !isLinux },
  () => {
    using folder = new TemporaryFolder();
    const path = folder.write("a.txt", "text");
    const print = fingerprint(path)!;
    assertEquals(trustIn(path, print).written, false);
    {
      using _file = Deno.openSync(path, { append: true });
      assertEquals(trustIn(path, print), { written: true, settles: Infinity });
    }
    {
      using _file = Deno.openSync(path);
      assertEquals(trustIn(path, print).written, false);
    }
  },
);

/** An image of a folder in which every time is 0, and a mount point for it. */
class Image implements Disposable {
  readonly #folder: TemporaryFolder;
  readonly point: string;

  constructor(folder: TemporaryFolder) {
    this.#folder = folder;
    this.point = folder.join("image");
    Deno.mkdirSync(this.point);
  }

  /** Mounts an image that has one file. */
  mount(name: string, text: string): void {
    this.#folder.write(`${text}/${name}`, text);
    const file = this.#folder.join(`${text}.squashfs`);
    command("mksquashfs", this.#folder.join(text), file, "-all-time", "0");
    command("mount", "-o", "loop,ro", file, this.point);
  }

  unmount(): void {
    command("umount", this.point);
  }

  [Symbol.dispose](): void {
    this.unmount();
  }
}

function command(program: string, ...args: string[]): void {
  const { success, stderr } = new Deno.Command(program, { args }).outputSync();
  assert(success, new TextDecoder().decode(stderr));
}

/** Only root can mount images, and not everywhere. */
const canMount = isLinux && Deno.uid() === 0 && hasSquashfs();

function hasSquashfs(): boolean {
  try {
    return new Deno.Command("mksquashfs", { args: ["-version"] }).outputSync()
      .success &&
      Deno.readTextFileSync("/proc/filesystems").includes("squashfs");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test(
  "Stats.digest() notices that another image with the same times and sizes was mounted",
  { ignore: !canMount },
  async () => {
    using folder = new TemporaryFolder();
    const memo = folder.join("stats.json");
    using image = new Image(folder);
    const file = `${image.point}/model.bin`;
    image.mount("model.bin", "old");
    const times = fingerprint(file);
    assertEquals(await digestOf(file, memo), digest("old"));
    image.unmount();
    image.mount("model.bin", "new");
    assertEquals(fingerprint(file), times, "the times show nothing");
    assertEquals(await digestOf(file, memo), digest("new"));
  },
);

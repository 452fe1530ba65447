import { assert, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { selectEngine } from "../../lib/engine/library/select.ts";
import {
  releaseLoadingPages,
  unwrittenMappings,
} from "../../lib/engine/tensorflow/loading_pages.ts";
import { libraryFiles } from "../../lib/engine/tensorflow/open.ts";
import { tensorflow } from "./engine.ts";
import { assertSameBits } from "./reference.ts";

const SMAPS =
  `7f0000000000-7f0000100000 r--p 00000000 fe:00 42                 /lib/a b.so
Rss:                 900 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
7f0000100000-7f0000180000 r-xp 00100000 fe:00 42                 /lib/a b.so
Rss:                 400 kB
Anonymous:             0 kB
7f0000180000-7f0000190000 r--p 00180000 fe:00 42                 /lib/a b.so
Rss:                  64 kB
Anonymous:            64 kB
7f0000190000-7f00001a0000 rw-p 00190000 fe:00 42                 /lib/a b.so
Rss:                  64 kB
Anonymous:             0 kB
7f0000200000-7f0000300000 r-xp 00000000 fe:00 43                 /lib/other.so
Anonymous:             0 kB
7ffd00000000-7ffd00100000 rw-p 00000000 00:00 0
Anonymous:            12 kB
`;

Deno.test("unwrittenMappings() finds what of a file is mapped without a page of its own", () => {
  assertEquals(unwrittenMappings(SMAPS, ["/lib/a b.so", "/lib/none.so"]), [
    { start: 0x7f0000000000n, bytes: 0x100000n },
    { start: 0x7f0000100000n, bytes: 0x80000n },
  ]);
});

Deno.test({
  name:
    "releaseLoadingPages() makes the library's files less resident, and it computes on",
  ignore: tensorflow === undefined || Deno.build.os !== "linux",
  async fn() {
    const { library } = await selectEngine("tensorflow");
    const paths = libraryFiles(library!).map((path) => Deno.realPathSync(path));
    const a = tf.randomNormal([64, 64], 0, 1, "float32", 1);
    const product = () => tf.matMul(a, a).dataSync();
    const before = product();
    releaseLoadingPages(paths);
    const released = residentKib(paths);
    // Symbols and relocations alone are ten thousands of pages; every one is read here.
    for (const path of paths) touchAll(path);
    const touched = residentKib(paths);
    assert(touched > released + 50_000, `${released} to ${touched} KiB`);
    releaseLoadingPages(paths);
    assert(residentKib(paths) < touched - 50_000, `from ${touched} KiB`);
    assertSameBits(product(), before);
  },
});

/** Resident KiB of what is mapped of these files. */
function residentKib(paths: readonly string[]): number {
  const mappings = Deno.readTextFileSync("/proc/self/smaps")
    .split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  return mappings
    .filter((text) => paths.some((path) => text.includes(path)))
    .reduce(
      (sum, text) => sum + Number(/^Rss: +(\d+) kB$/m.exec(text)![1]),
      0,
    );
}

/** Reads a byte of every page that is mapped of a file. */
function touchAll(path: string): void {
  const smaps = Deno.readTextFileSync("/proc/self/smaps");
  let sum = 0;
  for (const { start, bytes } of unwrittenMappings(smaps, [path])) {
    const view = new Deno.UnsafePointerView(
      Deno.UnsafePointer.create(start) as Deno.PointerObject,
    );
    for (let offset = 0; offset < bytes; offset += 4096) {
      sum += view.getUint8(offset);
    }
  }
  assert(sum > 0);
}

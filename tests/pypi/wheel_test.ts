import {
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { TextReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import { RemediedError } from "../../lib/pypi/remedied_error.ts";
import { unpackWheel } from "../../lib/pypi/wheel.ts";
import { makeWheel } from "./make_wheel.ts";

const NAME = "thing-1.0-py3-none-any.whl";
const everything = { select: (paths: readonly string[]) => paths };

async function assertBroken(
  unpack: () => Promise<unknown>,
  message: string,
): Promise<void> {
  const error = await assertRejects(unpack, RemediedError, message);
  assertMatch(error.problem, /^Cannot unpack ".*\.whl"/);
}

Deno.test("unpackWheel() extracts the selected files, with their hashes and modes", async () => {
  const folder = await Deno.makeTempDir();
  const text = "x".repeat(100_000);
  const { path } = await makeWheel(
    folder,
    NAME,
    { "thing/a.txt": text, "thing/run": "#!", "thing/b.txt": "no" },
    ["thing/run"],
  );
  let bytes = 0;
  const files = await unpackWheel(path, join(folder, "out"), {
    select: (paths) => {
      assertEquals(paths.slice(0, 3), [
        "thing/a.txt",
        "thing/run",
        "thing/b.txt",
      ]);
      return ["thing/a.txt", "thing/run"];
    },
    onBytes: (done) => bytes = done,
  });
  assertEquals(files, [
    {
      path: "thing/a.txt",
      bytes: 100_000,
      sha256: createHash("sha256").update(text).digest("hex"),
    },
    {
      path: "thing/run",
      bytes: 2,
      sha256: createHash("sha256").update("#!").digest("hex"),
    },
  ]);
  assertEquals(bytes, 100_002);
  assertEquals(await Deno.readTextFile(join(folder, "out/thing/a.txt")), text);
  const mode = async (name: string) =>
    (await Deno.stat(join(folder, "out/thing", name))).mode! & 0o111;
  assertEquals(await mode("a.txt"), 0);
  assertNotEquals(await mode("run"), 0);
  assertEquals(
    [...Deno.readDirSync(join(folder, "out/thing"))].map(({ name }) => name)
      .sort(),
    [
      "a.txt",
      "run",
    ],
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("unpackWheel() rejects a wheel that is damaged or truncated anywhere", async () => {
  const folder = await Deno.makeTempDir();
  // Digits of a hash, which hardly compress.
  const text = createHash("sha512").update("seed").digest("hex");
  const { path } = await makeWheel(folder, NAME, { "thing/a.txt": text });
  const whole = await Deno.readFile(path);
  const damaged = join(folder, "damaged.whl");
  // The first member's data: after 30 bytes of header, the name, and extra
  // fields of the length at 28.
  const data = 30 + "thing/a.txt".length + whole[28]! + 256 * whole[29]!;
  for (const at of [data, data + 20, data + 40]) {
    const bytes = whole.slice();
    bytes[at]! ^= 0x55;
    await Deno.writeFile(damaged, bytes);
    await assertBroken(
      () => unpackWheel(damaged, join(folder, `${at}`), everything),
      "Cannot unpack",
    );
  }
  for (const length of [0, 10, whole.length >> 1, whole.length - 1]) {
    await Deno.writeFile(damaged, whole.subarray(0, length));
    await assertBroken(
      () => unpackWheel(damaged, join(folder, `cut${length}`), everything),
      "Cannot unpack",
    );
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("unpackWheel() writes nothing outside of its folder", async () => {
  const folder = await Deno.makeTempDir();
  for (
    const [i, name] of [
      "../escaped",
      "a/../../escaped",
      "/tmp/escaped",
      "a\\..\\escaped",
    ].entries()
  ) {
    const zip = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
    await zip.add(name, new TextReader("x"));
    const path = join(folder, `${i}.whl`);
    await Deno.writeFile(path, await zip.close());
    await assertRejects(
      () => unpackWheel(path, join(folder, `out${i}`), everything),
      RemediedError,
    );
  }
  const zip = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
  await zip.add("link", new TextReader("/etc"), { unixMode: 0o120777 });
  const path = join(folder, "link.whl");
  await Deno.writeFile(path, await zip.close());
  await assertBroken(
    () => unpackWheel(path, join(folder, "out"), everything),
    "outside",
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("unpackWheel() stops when it is interrupted", async () => {
  const folder = await Deno.makeTempDir();
  const { path } = await makeWheel(folder, NAME, {
    "a": "x".repeat(1e6),
    "b": "x",
  });
  const controller = new AbortController();
  const unpacking = unpackWheel(path, join(folder, "out"), {
    ...everything,
    signal: controller.signal,
    onBytes: () => controller.abort(),
  });
  await assertRejects(() => unpacking, DOMException, "aborted");
  await Deno.remove(folder, { recursive: true });
});

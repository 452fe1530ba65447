import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  assertRejects,
  fail,
} from "@std/assert";
import { join } from "node:path";
import type { LibraryBuild } from "../../../lib/engine/install/builds.ts";
import {
  installLibrary,
  type InstallOptions,
} from "../../../lib/engine/install/install.ts";
import { RemediedError } from "../../../lib/pypi/remedied_error.ts";
import { fingerprint } from "../../../lib/files/fingerprints.ts";
import { fakePython } from "../../pypi/fake_python.ts";
import { withFolder } from "../../tasks/run_task.ts";
import { smallBuild } from "./small_build.ts";

const FOLDER = "libtensorflow-2.21.0-linux-x86_64-cpu";
/** The files that a failed installation may leave behind. */
const CLEAN = [`${FOLDER}.lock`];

/** Names in a folder; with `deep`, paths of all files below it. */
function list(folder: string, deep = false): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    deep && isDirectory
      ? list(join(folder, name), true).map((path) => `${name}/${path}`)
      : [name]
  ).sort();
}

function test(name: string, fn: (folder: string) => Promise<void>): void {
  Deno.test({
    name,
    ignore: Deno.build.os === "windows",
    fn: () => withFolder(fn),
  });
}

async function failure(
  build: LibraryBuild,
  cache: string,
  message: RegExp,
  options: InstallOptions,
): Promise<RemediedError> {
  try {
    await installLibrary(build, cache, options);
  } catch (error) {
    assertInstanceOf(error, RemediedError, String(error));
    assertMatch(error.message, message);
    return error;
  }
  fail("The installation should have failed");
}

test("installLibrary() lays out the library once, with its licences and a record", async (folder) => {
  const { build, pip } = await smallBuild(folder);
  const cache = join(folder, "deep/cache");
  const steps = new Set<string>();
  const installed = await installLibrary(build, cache, {
    pip,
    onProgress: ({ step, subject }) => steps.add(`${step} ${subject}`),
    verify: async (staging) => {
      assertEquals(list(cache), [`${FOLDER}.lock`, `${FOLDER}.part`]);
      await Deno.stat(join(staging, "tensorflow/libtensorflow_cc.so.2"));
    },
  });
  assertEquals(installed, join(cache, FOLDER));
  assertEquals(list(cache, true), [
    `${FOLDER}.lock`,
    `${FOLDER}/installed.json`,
    `${FOLDER}/tensorflow/THIRD_PARTY_NOTICES.txt`,
    `${FOLDER}/tensorflow/libtensorflow_cc.so.2`,
    `${FOLDER}/tensorflow/libtensorflow_framework.so.2`,
  ]);
  assert(steps.has("unpack tensorflow 2.21.0"), [...steps].join());
  assert(steps.has("check the library"));
  // Nothing is asked of pip again.
  const broken = { pip: "/nonexistent" };
  assertEquals(await installLibrary(build, cache, broken), installed);
});

test("installLibrary() puts CUDA's libraries where libtensorflow looks for them", async (folder) => {
  const { build, pip } = await smallBuild(folder, { device: "cuda" });
  const installed = await installLibrary(build, folder, { pip });
  assertEquals(
    installed,
    join(folder, "libtensorflow-2.21.0-linux-x86_64-cuda"),
  );
  assertEquals(list(installed, true), [
    "installed.json",
    "nvidia/cublas/lib/libcublas.so.12",
    "nvidia/cublas/lib/libcublasLt.so.12",
    "nvidia/cuda_nvcc/bin/ptxas",
    "nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc",
    "tensorflow/THIRD_PARTY_NOTICES.txt",
    "tensorflow/libtensorflow_cc.so.2",
    "tensorflow/libtensorflow_framework.so.2",
  ]);
  const { mode } = await Deno.stat(
    join(installed, "nvidia/cuda_nvcc/bin/ptxas"),
  );
  assertNotEquals(mode! & 0o100, 0);
});

test("installLibrary() replaces a damaged installation", async (folder) => {
  const { build, copier: pip } = await smallBuild(folder);
  const cache = join(folder, "cache");
  const library = join(
    await installLibrary(build, cache, { pip }),
    "tensorflow/libtensorflow_cc.so.2",
  );
  const { size } = await Deno.stat(library);
  await Deno.truncate(library, 10);
  await installLibrary(build, cache, { pip });
  assertEquals((await Deno.stat(library)).size, size);
  await Deno.writeTextFile(join(cache, FOLDER, "installed.json"), "{");
  await installLibrary(build, cache, { pip });
  assertEquals(list(cache), [FOLDER, `${FOLDER}.lock`]);
});

test("installLibrary() replaces a library with one changed byte, whose size and mtime are as before", async (folder) => {
  const { build, copier: pip } = await smallBuild(folder);
  const cache = join(folder, "cache");
  const installed = await installLibrary(build, cache, { pip });
  const path = "tensorflow/libtensorflow_cc.so.2";
  const library = join(installed, path);
  const content = await Deno.readFile(library);
  const { mtime } = await Deno.stat(library);
  const damage = async () => {
    await Deno.writeFile(library, content.with(500, content[500]! ^ 1));
    await Deno.utime(library, mtime!, mtime!);
  };
  await damage();
  const damaged: string[] = [];
  const onDamage = (path: string) => void damaged.push(path);
  await installLibrary(build, cache, { pip, onDamage });
  assertEquals(damaged, [path]);
  assertEquals(await Deno.readFile(library), content);

  // The note that spares hashing is trusted for what looks unchanged only.
  await installLibrary(build, cache, { pip, onDamage });
  await damage();
  const print = fingerprint(library);
  const note = join(installed, "verified.json");
  const known = JSON.parse(await Deno.readTextFile(note));
  await Deno.writeTextFile(note, JSON.stringify({ ...known, [path]: print }));
  await installLibrary(build, cache, { pip, onDamage });
  assertEquals(damaged, [path]);
  await installLibrary(build, cache, { pip, onDamage, thorough: true });
  assertEquals(damaged, [path, path]);
  assertEquals(await Deno.readFile(library), content);
});

test("installLibrary() leaves nothing behind when a step fails", async (folder) => {
  const { build, pip, copier } = await smallBuild(folder);
  const cache = join(folder, "cache");
  const [wheel] = build.wheels;
  const wrong = { ...build, wheels: [{ ...wheel!, sha256: "0".repeat(64) }] };
  await failure(wrong, cache, /does not have the expected SHA-256/, { pip });
  assertEquals(list(cache), CLEAN);

  const cannotLoad = new RemediedError(
    "It cannot be loaded",
    "Remedy",
  );
  await failure(build, cache, /It cannot be loaded\nRemedy/, {
    pip: copier,
    verify: () => Promise.reject(cannotLoad),
  });
  assertEquals(list(cache), CLEAN);
});

test("installLibrary() stops a download that is interrupted and cleans up", async (folder) => {
  const { build } = await smallBuild(folder);
  const cache = join(folder, "cache");
  const python = await fakePython(
    `${folder}/slow`,
    'echo x > "$TMPDIR/part"; exec sleep 60',
  );
  const controller = new AbortController();
  const installing = installLibrary(build, cache, {
    pip: python,
    signal: controller.signal,
    onProgress: ({ done }) => done > 0 && controller.abort(),
  });
  await assertRejects(() => installing, DOMException, "aborted");
  assertEquals(list(cache), CLEAN);
});

test("installLibrary() installs once when two processes ask at the same time", async (folder) => {
  const { build, copier: pip } = await smallBuild(folder);
  const cache = join(folder, "cache");
  const counted = await fakePython(
    `${folder}/counted`,
    `echo run >> "${folder}/runs"; sleep 1; exec "${pip}" "$@"`,
  );
  const results = await Promise.all(
    [1, 2].map(() => installProcess(build, cache, counted).output()),
  );
  for (const { success, stderr } of results) {
    assert(success, new TextDecoder().decode(stderr));
  }
  assertEquals(await Deno.readTextFile(`${folder}/runs`), "run\n");
  const steps = results.map(({ stdout }) =>
    JSON.parse(new TextDecoder().decode(stdout))[0]
  ).sort();
  assertEquals(steps, ["download", "wait"]);
});

test("installLibrary() removes what a killed installation left behind", async (folder) => {
  const { build, copier: pip } = await smallBuild(folder);
  const cache = join(folder, "cache");
  const hanging = await fakePython(
    `${folder}/hanging`,
    `echo $$ > "${folder}/pid"; exec sleep 60`,
  );
  const child = installProcess(build, cache, hanging).spawn();
  while (!list(folder).includes("pid")) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  child.kill("SIGKILL");
  await child.output();
  assertMatch(list(cache).join(), /\.part$/);
  Deno.kill(Number(await Deno.readTextFile(`${folder}/pid`)), "SIGKILL");

  await installLibrary(build, cache, { pip });
  assertEquals(list(cache), [FOLDER, `${FOLDER}.lock`]);
});

test("installLibrary() rejects a cache that is not writable", async (folder) => {
  const { build, pip } = await smallBuild(folder);
  await Deno.writeTextFile(join(folder, "file"), "");
  const error = await failure(
    build,
    join(folder, "file/cache"),
    /Cannot write to ".*file\/cache"/,
    { pip },
  );
  assertMatch(error.remedy, /DYLORA_CACHE/);
});

/** Runs `use` with a disk of 16 kB; returns false if the user may not mount one. */
async function withSmallDisk(
  use: (path: string) => Promise<void>,
): Promise<boolean> {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const path = await Deno.makeTempDir();
  const run = (command: string, ...args: string[]) =>
    new Deno.Command(command, { args }).output();
  try {
    const mount = await run(
      "mount",
      "-t",
      "tmpfs",
      "-o",
      "size=16k",
      "tmpfs",
      path,
    );
    if (!mount.success) return false;
    try {
      await use(path);
    } finally {
      await run("umount", path);
    }
    return true;
  } finally {
    await Deno.remove(path);
  }
}

Deno.test({
  name:
    "installLibrary() explains a disk that fills up during the installation",
  ignore: !await withSmallDisk(() => Promise.resolve()),
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const { build, pip } = await smallBuild(folder);
    await withSmallDisk(async (path) => {
      await failure(build, path, /No space left on the disk/, { pip });
      assertEquals(list(path), CLEAN);
    });
    await Deno.remove(folder, { recursive: true });
  },
});

function installProcess(
  build: LibraryBuild,
  cache: string,
  python: string,
): Deno.Command {
  const script = new URL("install_process.ts", import.meta.url).href;
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      script,
      JSON.stringify(build),
      cache,
      python,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { buildFor } from "../../../lib/engine/install/builds.ts";
import {
  checkEngine,
  explainLoadFailure,
  inspectLibrary,
} from "../../../lib/engine/install/check.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { installLibrary } from "../../../lib/engine/install/install.ts";
import { RemediedError } from "../../../lib/pypi/remedied_error.ts";
import { pipWith } from "../../pypi/fake_python.ts";
import { smallBuild } from "./small_build.ts";

const tensorflow = await selectEngine("tensorflow");

async function assertNotLoadable(
  check: () => Promise<unknown>,
  message: RegExp,
): Promise<void> {
  const error = await assertRejects(check, RemediedError);
  assertMatch(error.message, message);
}

Deno.test("checkEngine() reports the library's version, size and devices", async () => {
  await tensorflow.prepare();
  const { library, devices } = await checkEngine(tensorflow);
  assertEquals(library?.version, "2.21.0");
  assertEquals(join(library!.folder, "tensorflow"), tensorflow.library);
  assert(library!.bytes > 500e6);
  assert(devices.includes("CPU"));
});

Deno.test("checkEngine() knows that WebAssembly has no bfloat16", async () => {
  assertEquals(await checkEngine(await selectEngine("wasm")), {
    devices: ["CPU"],
    bfloat16: false,
  });
});

Deno.test({
  name:
    "checkEngine() rejects a library that finds no GPU when the GPU was chosen",
  ignore: tensorflow.device === "gpu",
  fn: async () => {
    await assertNotLoadable(
      () => checkEngine({ ...tensorflow, device: "gpu" }),
      /libtensorflow finds no GPU\nRun nvidia-smi/,
    );
  },
});

Deno.test({
  name:
    "checkEngine() rejects a changed file, a removed file and a missing installation",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const { build, pip } = await smallBuild(folder);
    const installed = await installLibrary(build, join(folder, "cache"), {
      pip,
    });
    const choice = { ...tensorflow, library: join(installed, "tensorflow") };
    const library = join(installed, "tensorflow/libtensorflow_cc.so.2");
    const content = await Deno.readFile(library);
    content[100]! ^= 1;
    await Deno.writeFile(library, content);
    const damaged = /"tensorflow\/libtensorflow_cc.so.2" .* has changed/;
    await assertNotLoadable(() => checkEngine(choice), damaged);
    await Deno.remove(library);
    await assertNotLoadable(() => checkEngine(choice), damaged);
    await Deno.remove(installed, { recursive: true });
    await assertNotLoadable(
      () => checkEngine(choice),
      /is not installed .*\nInstall it: deno task setup/,
    );
    await Deno.remove(folder, { recursive: true });
  },
});

Deno.test("prepare() installs a library that loads and names its devices", async () => {
  await tensorflow.prepare();
  const library = tensorflow.library!;
  const { version, devices } = await inspectLibrary(library);
  assertEquals(version, "2.21.0");
  assert(devices.includes("CPU"));
});

Deno.test({
  name: "prepare() reads a library once, as long as it looks unchanged",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    await tensorflow.prepare();
    const bytesRead = () =>
      Number(
        /^rchar: (\d+)$/m.exec(Deno.readTextFileSync("/proc/self/io"))![1],
      );
    const before = bytesRead();
    await tensorflow.prepare();
    assert(bytesRead() - before < 1e6);
    await tensorflow.prepare({ thorough: true });
    assert(bytesRead() - before > 500e6);
  },
});

Deno.test("inspectLibrary() explains a library that is truncated or missing", async () => {
  const folder = await Deno.makeTempDir();
  const assertUnusable = async () => {
    const error = await assertRejects(
      () => inspectLibrary(folder),
      RemediedError,
    );
    assertStringIncludes(error.remedy, "deno task setup");
  };
  await assertUnusable();
  for await (const { name } of Deno.readDir(tensorflow.library!)) {
    if (!name.includes("framework")) continue;
    await Deno.copyFile(join(tensorflow.library!, name), join(folder, name));
    await Deno.truncate(join(folder, name), 100);
  }
  await assertUnusable();
  await Deno.remove(folder, { recursive: true });
});

const wheels = Deno.env.get("DYLORA_WHEELS");

Deno.test({
  name:
    "installLibrary() installs the real wheel from a folder of wheels into an empty cache",
  ignore: wheels === undefined,
  fn: async () => {
    const cache = await Deno.makeTempDir();
    const pip = await pipWith(join(cache, "bin"), {
      PIP_NO_INDEX: "1",
      PIP_FIND_LINKS: wheels!,
    });
    const build = buildFor(Deno.build.target, "cpu");
    let unpacked = 0;
    const folder = await installLibrary(build, cache, {
      pip,
      onProgress: ({ step, done }) => step === "unpack" && (unpacked = done),
      verify: (folder) => inspectLibrary(join(folder, "tensorflow")),
    });
    assertEquals(unpacked, build.wheels[0]!.unpacked);
    assertEquals(
      (await inspectLibrary(join(folder, "tensorflow"))).version,
      build.version,
    );
    await Deno.remove(cache, { recursive: true });
  },
});

function problem(output: string, signal: Deno.Signal | null = null): string {
  const error = explainLoadFailure(output, signal, "/cache/tensorflow");
  assertNotEquals(error.remedy, "");
  return error.problem;
}

Deno.test("explainLoadFailure() explains the messages of loaders", () => {
  assertMatch(
    problem(
      "Cannot load: /lib64/libm.so.6: version `GLIBC_2.27' not found (required by /c/libtensorflow_cc.so.2)",
    ),
    /too old for libtensorflow: it lacks GLIBC_2.27/,
  );
  assertMatch(
    problem(
      "libstdc++.so.6: cannot open shared object file: No such file or directory",
    ),
    /requires "libstdc\+\+.so.6", which is not installed/,
  );
  assertMatch(
    problem(
      "Error loading shared library ld-linux-x86-64.so.2: No such file or directory",
    ),
    /requires glibc/,
  );
  assertMatch(
    problem(
      "/c/libtensorflow_cc.so.2: cannot open shared object file: No such file or directory",
    ),
    /damaged, incomplete/,
  );
  assertMatch(
    problem("/c/x: failed to map segment from shared object"),
    /noexec/,
  );
  assertMatch(problem("", "SIGILL"), /AVX/);
});

Deno.test("explainLoadFailure() passes on an unknown message", () => {
  assertEquals(
    problem(
      "I0000 a log line\nerror: Uncaught Error: Something new\n    at x (file:///y)",
    ),
    'Cannot load libtensorflow from "/cache/tensorflow": Uncaught Error: Something new',
  );
  assertMatch(
    problem("", "SIGSEGV"),
    /: SIGSEGV ended the process that loads it$/,
  );
});

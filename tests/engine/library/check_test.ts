import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { checkEngine } from "../../../lib/engine/library/check.ts";
import { checkFiles } from "../../../lib/engine/library/check_files.ts";
import { installLibrary } from "../../../lib/engine/library/install.ts";
import { selectEngine } from "../../../lib/engine/library/select.ts";
import { InstallError } from "../../../lib/pypi/install_error.ts";
import { smallBuild } from "./small_build.ts";

const tensorflow = await selectEngine("tensorflow");

async function assertNotLoadable(
  check: () => Promise<unknown>,
  message: RegExp,
): Promise<void> {
  const error = await assertRejects(check, InstallError);
  assertEquals(error.code, "not-loadable");
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
    "checkEngine() refuses a library that finds no GPU where there should be one",
  ignore: tensorflow.device === "gpu",
  fn: async () => {
    await assertNotLoadable(
      () => checkEngine({ ...tensorflow, device: "gpu" }),
      /libtensorflow finds no GPU\nSee what nvidia-smi says/,
    );
  },
});

Deno.test({
  name:
    "checkFiles() finds a file that was changed or removed, and an installation that is missing",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const { build, pip } = await smallBuild(folder);
    const installed = await installLibrary(build, join(folder, "cache"), {
      pip,
    });
    const bytes = await checkFiles(installed);
    const library = join(installed, "tensorflow/libtensorflow_cc.so.2");
    assert(bytes > (await Deno.stat(library)).size);

    const content = await Deno.readFile(library);
    content[100]! ^= 1;
    await Deno.writeFile(library, content);
    await assertNotLoadable(
      () => checkFiles(installed),
      /"tensorflow\/libtensorflow_cc.so.2" .* changed/,
    );
    await Deno.remove(library);
    await assertNotLoadable(
      () => checkFiles(installed),
      /missing/,
    );
    await Deno.remove(installed, { recursive: true });
    await assertNotLoadable(
      () => checkFiles(installed),
      /is not installed .*\nInstall it: deno task setup/,
    );
    await Deno.remove(folder, { recursive: true });
  },
});

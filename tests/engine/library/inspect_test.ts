import assert from "node:assert/strict";
import { join } from "node:path";
import {
  inspectLibrary,
  verifyLibrary,
} from "../../../lib/engine/install/check.ts";
import { installLibrary } from "../../../lib/engine/install/install.ts";
import { buildFor } from "../../../lib/engine/install/builds.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { InstallError } from "../../../lib/pypi/install_error.ts";

const { library, prepare } = await selectEngine("tensorflow");

Deno.test("prepare() installs a library that loads and names its devices", async () => {
  await prepare();
  const { version, devices } = await inspectLibrary(library!);
  assert.equal(version, "2.21.0");
  assert.ok(devices.includes("CPU"));
  await verifyLibrary(library!, "2.21.0");
  await assert.rejects(
    verifyLibrary(library!, "2.22.0"),
    /says it is release 2.21.0, not 2.22.0/,
  );
});

Deno.test("inspectLibrary() explains a library that is cut off or missing", async () => {
  const folder = await Deno.makeTempDir();
  const unusable = (error: unknown) =>
    error instanceof InstallError && error.code === "not-loadable" &&
    /deno task setup/.test(error.remedy);
  await assert.rejects(inspectLibrary(folder), unusable);
  for await (const { name } of Deno.readDir(library!)) {
    if (!name.includes("framework")) continue;
    await Deno.copyFile(join(library!, name), join(folder, name));
    await Deno.truncate(join(folder, name), 100);
  }
  await assert.rejects(inspectLibrary(folder), unusable);
  await Deno.remove(folder, { recursive: true });
});

const wheels = Deno.env.get("DYLORA_WHEELS");

Deno.test({
  name:
    "installLibrary() installs the real wheel from a folder of wheels into an empty cache",
  ignore: wheels === undefined,
  fn: async () => {
    const cache = await Deno.makeTempDir();
    const { pipWith } = await import("../../pypi/fake_python.ts");
    const pip = await pipWith(join(cache, "bin"), {
      PIP_NO_INDEX: "1",
      PIP_FIND_LINKS: wheels!,
    });
    const build = buildFor(Deno.build.target, "cpu");
    let unpacked = 0;
    const folder = await installLibrary(build, cache, {
      pip,
      onProgress: ({ step, done }) => step === "unpack" && (unpacked = done),
      verify: (folder) =>
        verifyLibrary(join(folder, "tensorflow"), build.version),
    });
    assert.equal(unpacked, build.wheels[0]!.unpacked);
    assert.equal(
      (await inspectLibrary(join(folder, "tensorflow"))).version,
      build.version,
    );
    await Deno.remove(cache, { recursive: true });
  },
});

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import {
  inspectLibrary,
  verifyLibrary,
} from "../../../lib/engine/library/inspect.ts";
import { installLibrary } from "../../../lib/engine/library/install.ts";
import { buildFor } from "../../../lib/engine/library/platform.ts";
import { selectEngine } from "../../../lib/engine/library/select.ts";
import { InstallError } from "../../../lib/pypi/install_error.ts";

const { library, prepare } = await selectEngine("tensorflow");

Deno.test("prepare() installs a library that loads and names its devices", async () => {
  await prepare();
  const { version, devices } = await inspectLibrary(library!);
  assertEquals(version, "2.21.0");
  assert(devices.includes("CPU"));
  await verifyLibrary(library!, "2.21.0");
  await assertRejects(
    () => verifyLibrary(library!, "2.22.0"),
    Error,
    "says it is release 2.21.0, not 2.22.0",
  );
});

Deno.test("inspectLibrary() explains a library that is cut off or missing", async () => {
  const folder = await Deno.makeTempDir();
  const assertUnusable = async () => {
    const error = await assertRejects(
      () => inspectLibrary(folder),
      InstallError,
    );
    assertEquals(error.code, "not-loadable");
    assertStringIncludes(error.remedy, "deno task setup");
  };
  await assertUnusable();
  for await (const { name } of Deno.readDir(library!)) {
    if (!name.includes("framework")) continue;
    await Deno.copyFile(join(library!, name), join(folder, name));
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
    assertEquals(unpacked, build.wheels[0]!.unpacked);
    assertEquals(
      (await inspectLibrary(join(folder, "tensorflow"))).version,
      build.version,
    );
    await Deno.remove(cache, { recursive: true });
  },
});

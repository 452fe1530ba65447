import { assertEquals, assertMatch } from "@std/assert";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { callMain, callMainWith } from "../project.ts";

Deno.test("setup --check reports the engine and what it supports", async () => {
  await (await selectEngine("tensorflow")).prepare();
  const { code, stdout } = await callMain("setup", "--check");
  assertEquals(code, 0);
  assertMatch(stdout, /^engine: tensorflow - libtensorflow on the (CPU|GPU): /);
  assertMatch(
    stdout,
    /kernels: @tensorflow\/tfjs-node-gpu 4\.22\.0\nlibrary: libtensorflow 2\.21\.0, .* in .*\ndevices: CPU.*\nbfloat16: (yes|no)\n$/,
  );
});

Deno.test("setup --check installs nothing", async () => {
  const cache = await Deno.makeTempDir();
  const { code, stderr } = await callMainWith(
    { env: { DYLORA_CACHE: cache } },
    ...["setup", "--check", "--engine", "tensorflow"],
  );
  assertEquals(code, 1);
  assertMatch(stderr, /is not installed in ".*"\nInstall it: deno task setup/);
  assertEquals([...Deno.readDirSync(cache)], []);
  await Deno.remove(cache);
});

Deno.test("setup without Python says what to install, and which engine needs no library", async () => {
  const cache = await Deno.makeTempDir();
  const { code, stderr, json } = await callMainWith(
    { env: { DYLORA_CACHE: cache, PATH: cache } },
    ...["setup", "--json"],
  );
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^Cannot find Python on PATH\nInstall Python 3 with pip .*\nOr run without the library, .*: --engine wasm$/m,
  );
  assertEquals(json().at(-1).type, "error");
  await Deno.remove(cache, { recursive: true });
});

Deno.test("setup refuses unknown options", async () => {
  const { code, stderr } = await callMain("setup", "--chekc");
  assertEquals(code, 2);
  assertMatch(stderr, /--chekc.*--check/);
});

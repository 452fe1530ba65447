import { assertEquals, assertMatch } from "@std/assert";
import { selectEngine } from "../../lib/engine/install/choose.ts";

const main = new URL("../../lib/cli/main.ts", import.meta.url).href;

/** Runs `deno task setup`; gives its exit code and what it writes. */
async function setup(
  args: readonly string[],
  env: Record<string, string> = {},
) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", main, "setup", ...args],
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  const [out, errors] = [stdout, stderr].map((bytes) =>
    new TextDecoder().decode(bytes)
  );
  return { code, out: out!, errors: errors! };
}

Deno.test("setup --check says which engine there is and what it can do", async () => {
  await (await selectEngine("tensorflow")).prepare();
  const { code, out } = await setup(["--check"]);
  assertEquals(code, 0);
  assertMatch(out, /^engine: tensorflow - libtensorflow on the (CPU|GPU): /);
  assertMatch(
    out,
    /library: libtensorflow 2\.21\.0, .* in .*\ndevices: CPU.*\nbfloat16: (yes|no)\n$/,
  );
});

Deno.test("setup --check installs nothing", async () => {
  const cache = await Deno.makeTempDir();
  const { code, errors } = await setup(["--check", "--engine", "tensorflow"], {
    DYLORA_CACHE: cache,
  });
  assertEquals(code, 1);
  assertMatch(errors, /is not installed in ".*"\nInstall it: deno task setup/);
  assertEquals([...Deno.readDirSync(cache)], []);
  await Deno.remove(cache);
});

Deno.test("setup without Python takes another engine and says why, unless one was asked for", async () => {
  const cache = await Deno.makeTempDir();
  const env = { DYLORA_CACHE: cache, PATH: cache, DENO_WEBGPU_BACKEND: "none" };
  const auto = await setup([], env);
  assertEquals(auto.code, 0);
  assertMatch(
    auto.out,
    /^engine: (wasm|webgpu) - .*not tensorflow: Cannot find Python on PATH/,
  );
  const asked = await setup(["--engine", "tensorflow", "--json"], env);
  assertEquals(asked.code, 1);
  assertMatch(
    asked.errors,
    /Cannot find Python on PATH\nInstall Python 3 with pip/,
  );
  assertEquals(JSON.parse(asked.out.trim().split("\n").at(-1)!).type, "error");
  await Deno.remove(cache, { recursive: true });
});

Deno.test("setup refuses arguments that it does not know", async () => {
  const { code, errors } = await setup(["--chekc"]);
  assertEquals(code, 2);
  assertMatch(errors, /--chekc.*--check/);
});

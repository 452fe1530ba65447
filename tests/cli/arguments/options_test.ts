import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Arguments, UsageError } from "../../../lib/cli/arguments/arguments.ts";
import {
  gpusOf,
  outOf,
  settingsOf,
  sizeOf,
} from "../../../lib/cli/arguments/options.ts";

function given(name: string, value: string): Arguments {
  return new Arguments([], new Map([[name, [value]]]));
}

Deno.test("gpusOf() accepts ids with spaces around them, and refuses a repeated one", async () => {
  assertEquals(gpusOf(given("gpus", " 0, 1 ,GPU-x ")), ["0", "1", "GPU-x"]);
  assertEquals(gpusOf(given("gpus", "none")), []);
  assertEquals(gpusOf(new Arguments([], new Map())), undefined);
  assertThrows(
    () => gpusOf(given("gpus", "0,1, 0")),
    UsageError,
    'Option "--gpus" names GPU "0" twice',
  );
  const { limits } = await settingsOf(given("gpus", "0, 1"));
  assertEquals(limits.gpus, ["0", "1"]);
});

Deno.test("sizeOf() accepts bytes with or without a unit", async () => {
  assertEquals(await sizeOf(given("memory", "4096"), "memory"), 4096);
  assertEquals(await sizeOf(given("memory", "8GB"), "memory"), 8e9);
  await assertRejects(
    () => sizeOf(given("memory", "4 gigs"), "memory"),
    UsageError,
    'Invalid value "4 gigs" for option "--memory"',
  );
});

Deno.test("outOf() refuses a path with a comma", () => {
  assertThrows(
    () => outOf(given("out", "a,b")),
    UsageError,
    "contains a comma",
  );
});

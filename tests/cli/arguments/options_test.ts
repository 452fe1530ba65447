import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Arguments, UsageError } from "../../../lib/cli/arguments/arguments.ts";
import {
  gpusOf,
  outOf,
  settingsOf,
  sizeOf,
  withSettings,
} from "../../../lib/cli/arguments/options.ts";

function given(name: string, value: string): Arguments {
  return new Arguments([], new Map([[name, [value]]]));
}

Deno.test("withSettings() names the setting that a message quotes, else the one that names its file", () => {
  const settings = ["train=/data/x.tsv", "text=txt", "label=label"];
  assertEquals(
    withSettings('"/data/x.tsv" has no column "txt"; it has "label"', settings),
    '"/data/x.tsv" has no column "txt"; it has "label"; set by -S text=txt',
  );
  assertEquals(
    withSettings('"/data/x.tsv" does not exist', settings),
    '"/data/x.tsv" does not exist; set by -S train=/data/x.tsv',
  );
  assertEquals(
    withSettings('No model "my x" on the hub\nSet HF_TOKEN', ["model=my x"]),
    `No model "my x" on the hub; set by -S 'model=my x'\nSet HF_TOKEN`,
  );
  const named = '-S text=txt: Invalid "text": got "txt"';
  const once = withSettings('No column "my x"', ["text=my x"]);
  assertEquals(withSettings(once, ["text=my x"]), once);
  const lacking =
    '"/data/x.tsv" has no column "txt"; it has "review": name it by -S text=review';
  const quotes =
    '/data/x.tsv:2: Expected a JSON object on one line, found "{"label": 1"';
  for (const message of [named, lacking, quotes, "The loss is NaN"]) {
    assertEquals(withSettings(message, settings), message);
  }
});

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

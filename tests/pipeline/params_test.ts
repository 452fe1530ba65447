import { assertEquals, assertIsError, assertRejects } from "@std/assert";
import { parseSetting } from "../../lib/pipeline/params.ts";

Deno.test("parseSetting() gives a value the type that it has in YAML", async () => {
  const value = async (text: string) =>
    (await parseSetting(`train.lr=${text}`)).value;
  assertEquals(await value("5e-4"), 5e-4);
  assertEquals(await value("[1, 2]"), [1, 2]);
  assertEquals(await value("true"), true);
  assertEquals(await value("null"), null);
  assertEquals(await value("/data/a=b"), "/data/a=b");
  assertEquals(await value("'5'"), "5");
  assertEquals(await value(""), "");
  assertEquals(await value("{ a: 1 }"), { a: 1 });
  assertEquals((await parseSetting("a=b")).key, "a");
});

Deno.test("parseSetting() refuses text that is not a setting", async () => {
  const refuses = async (text: string, message: RegExp) =>
    assertIsError(
      await assertRejects(() => parseSetting(text)),
      Error,
      message,
    );
  await refuses("lr", /must have the form KEY=VALUE/);
  await refuses("=5", /must have the form KEY=VALUE/);
  await refuses("a..b=5", /must have the form KEY=VALUE/);
  await refuses("a=[1", /is not valid YAML: .*; to give text, quote it/);
  await refuses(
    "a=!!binary x",
    /Tag "tag:yaml.org,2002:binary" is not allowed/,
  );
  await refuses("a=010", /Ambiguous value "010"/);
});

import { deepStrictEqual, rejects } from "node:assert/strict";
import { parseSetting } from "../../lib/pipeline/params.ts";

Deno.test("parseSetting() gives a value the type that it has in YAML", async () => {
  const value = async (text: string) =>
    (await parseSetting(`train.lr=${text}`)).value;
  deepStrictEqual(await value("5e-4"), 5e-4);
  deepStrictEqual(await value("[1, 2]"), [1, 2]);
  deepStrictEqual(await value("true"), true);
  deepStrictEqual(await value("null"), null);
  deepStrictEqual(await value("/data/a=b"), "/data/a=b");
  deepStrictEqual(await value("'5'"), "5");
  deepStrictEqual(await value(""), "");
  deepStrictEqual(await value("{ a: 1 }"), { a: 1 });
  deepStrictEqual((await parseSetting("a=b")).key, "a");
});

Deno.test("parseSetting() refuses text that is not a setting", async () => {
  const refuses = (text: string, message: RegExp) =>
    rejects(parseSetting(text), message);
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

import { deepStrictEqual, throws } from "node:assert/strict";
import { parseSetting } from "../../lib/pipeline/settings.ts";

Deno.test("parseSetting() gives a value the type that it has in YAML", () => {
  const value = (text: string) => parseSetting(`train.lr=${text}`).value;
  deepStrictEqual(value("5e-4"), 5e-4);
  deepStrictEqual(value("[1, 2]"), [1, 2]);
  deepStrictEqual(value("true"), true);
  deepStrictEqual(value("null"), null);
  deepStrictEqual(value("/data/a=b"), "/data/a=b");
  deepStrictEqual(value("'5'"), "5");
  deepStrictEqual(value(""), "");
  deepStrictEqual(value("{ a: 1 }"), { a: 1 });
  deepStrictEqual(parseSetting("a=b").key, "a");
});

Deno.test("parseSetting() refuses what is no setting", () => {
  throws(() => parseSetting("lr"), /must have the form KEY=VALUE/);
  throws(() => parseSetting("=5"), /must have the form KEY=VALUE/);
  throws(() => parseSetting("a..b=5"), /must have the form KEY=VALUE/);
  throws(() => parseSetting("a=[1"), /is no YAML.*put quotes around text/);
});

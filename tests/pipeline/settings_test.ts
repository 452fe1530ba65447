import { assertEquals, assertIsError, assertThrows } from "@std/assert";
import { parseSetting } from "../../lib/pipeline/settings.ts";

Deno.test("parseSetting() gives a value the type that it has in YAML", () => {
  const value = (text: string) => parseSetting(`train.lr=${text}`).value;
  assertEquals(value("5e-4"), 5e-4);
  assertEquals(value("[1, 2]"), [1, 2]);
  assertEquals(value("true"), true);
  assertEquals(value("null"), null);
  assertEquals(value("/data/a=b"), "/data/a=b");
  assertEquals(value("'5'"), "5");
  assertEquals(value(""), "");
  assertEquals(value("{ a: 1 }"), { a: 1 });
  assertEquals(parseSetting("a=b").key, "a");
});

Deno.test("parseSetting() refuses what is no setting", () => {
  assertThrows(() => parseSetting("lr"), Error, "must have the form KEY=VALUE");
  assertThrows(() => parseSetting("=5"), Error, "must have the form KEY=VALUE");
  assertThrows(
    () => parseSetting("a..b=5"),
    Error,
    "must have the form KEY=VALUE",
  );
  assertIsError(
    assertThrows(() => parseSetting("a=[1")),
    Error,
    /is no YAML.*put quotes around text/,
  );
});

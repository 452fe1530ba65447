import { assertEquals, assertIsError, assertThrows } from "@std/assert";
import fc from "fast-check";
import { canonicalJson } from "../../lib/store/digest.ts";

Deno.test("canonicalJson() writes JSON that reads back as the value", () => {
  fc.assert(fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
    const expected = JSON.parse(JSON.stringify(value));
    assertEquals(JSON.parse(canonicalJson(expected)), expected);
  }));
});

Deno.test("canonicalJson() does not depend on the order of members", () => {
  fc.assert(fc.property(
    fc.uniqueArray(fc.tuple(fc.string(), fc.jsonValue()), {
      selector: ([name]) => name,
    }),
    (members) => {
      const forwards = Object.fromEntries(members);
      const backwards = Object.fromEntries(members.toReversed());
      assertEquals(canonicalJson(forwards), canonicalJson(backwards));
    },
  ));
});

Deno.test("canonicalJson() refuses what JSON cannot hold, and says where it is", () => {
  for (const value of [NaN, Infinity, new Date(0), () => 1, 1n, undefined]) {
    assertIsError(
      assertThrows(() => canonicalJson({ list: [0, value] })),
      Error,
      /"\$\.list\[1\]" is .*, which JSON cannot represent/,
    );
  }
});

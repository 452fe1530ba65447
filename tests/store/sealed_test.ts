import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { digest, quickChecksum } from "../../lib/store/digest.ts";
import { readSealed, seal, writeSealed } from "../../lib/store/files.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

Deno.test("readSealed() gives what writeSealed() wrote, whatever it was", () => {
  using folder = new TemporaryFolder();
  const path = folder.join("sealed.json");
  const value = fc.dictionary(fc.string(), fc.jsonValue()).filter((value) =>
    !("seal" in value) && !("__proto__" in value)
  );
  fc.assert(fc.property(value, (value) => {
    writeSealed(path, value);
    assertEquals(readSealed(path), {
      state: "whole",
      value: JSON.parse(JSON.stringify(value)),
    });
  }));
});

Deno.test("readSealed() takes a text in which any character is another for damaged", () => {
  using folder = new TemporaryFolder();
  for (const checksum of [digest, quickChecksum]) {
    const text = seal({ a: [1, 2.5], b: { c: "d" } }, checksum);
    for (let at = 0; at < text.length; at++) {
      const path = folder.write(
        "sealed.json",
        text.slice(0, at) + (text[at] === "1" ? "2" : "1") + text.slice(at + 1),
      );
      assertEquals(readSealed(path, checksum), { state: "damaged" });
    }
    for (const cut of [text.slice(0, -1), text + " ", "{}", ""]) {
      const path = folder.write("sealed.json", cut);
      assertEquals(readSealed(path, checksum), { state: "damaged" }, cut);
    }
  }
});

Deno.test("quickChecksum() differs for texts that differ in one place, or in the order of two", () => {
  const seen = new Set<string>();
  const base = [..."abcdefghijklmnopqrstuvwxyz"];
  for (let at = 0; at < base.length; at++) {
    for (const put of ["0", "é", "", "ab"]) {
      seen.add(quickChecksum(base.with(at, put).join("")));
    }
    for (let other = 0; other < at; other++) {
      const swapped = base.with(at, base[other]!).with(other, base[at]!);
      seen.add(quickChecksum(swapped.join("")));
    }
  }
  assertEquals(seen.size, 26 * 4 + 26 * 25 / 2);
});

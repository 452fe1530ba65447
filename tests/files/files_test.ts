import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { writeFileSync } from "node:fs";
import {
  isFull,
  isWriteFault,
  readSealed,
  seal,
  systemCode,
  systemPaths,
  writeSealed,
} from "../../lib/files/files.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

Deno.test("readSealed() returns any value that writeSealed() wrote", () => {
  using folder = new TemporaryFolder();
  const path = folder.join("sealed.json");
  const value = fc.dictionary(fc.string(), fc.jsonValue()).filter((value) =>
    !("seal" in value) && !("__proto__" in value)
  );
  fc.assert(fc.property(value, (value) => {
    writeSealed(path, value);
    assertEquals(readSealed(path), JSON.parse(JSON.stringify(value)));
  }));
});

Deno.test("readSealed() returns undefined when any character differs", () => {
  using folder = new TemporaryFolder();
  const text = seal({ a: [1, 2.5], b: { c: "d" } });
  for (let at = 0; at < text.length; at++) {
    const path = folder.write(
      "sealed.json",
      text.slice(0, at) + (text[at] === "1" ? "2" : "1") + text.slice(at + 1),
    );
    assertEquals(readSealed(path), undefined);
  }
  for (const cut of [text.slice(0, -1), text + " ", "{}", ""]) {
    const path = folder.write("sealed.json", cut);
    assertEquals(readSealed(path), undefined, cut);
  }
});

Deno.test(
  "isFull() and isWriteFault() know a full disk from Deno's functions and from node:fs",
  { ignore: Deno.build.os !== "linux" },
  () => {
    for (const write of [Deno.writeTextFileSync, writeFileSync]) {
      const error = assertThrows(() => write("/dev/full", "text"));
      assertEquals(isFull(error), true);
      assertEquals(isWriteFault(error), true);
    }
  },
);

Deno.test("isWriteFault() is true of a folder that is a file, and false of a missing folder", () => {
  using folder = new TemporaryFolder();
  folder.write("file", "");
  for (const write of [Deno.writeTextFileSync, writeFileSync]) {
    const faultOf = (path: string) =>
      isWriteFault(assertThrows(() => write(folder.join(path), "text")));
    assertEquals(faultOf("file/a.txt"), true);
    assertEquals(faultOf("none/a.txt"), false);
  }
});

Deno.test("systemPaths() gives the paths of Deno's errors, also with a quote or an arrow in them", () => {
  using folder = new TemporaryFolder();
  const source = folder.join("it's -> here");
  const target = folder.join("it's there/x");
  const error = assertThrows(() => Deno.renameSync(source, target), Error);
  assertEquals(systemPaths(error), [source, target]);
  const missing = assertThrows(() => Deno.readTextFileSync(source), Error);
  assertEquals(systemPaths(missing), [source]);
});

Deno.test("systemCode() knows the errors for which Deno has a number only", () => {
  const error = (text: string) => new Error(`${text}: mkdir '/tmp/a'`);
  assertEquals(isFull(error("Disk quota exceeded (os error 122)")), true);
  assertEquals(systemCode(error("No such process (os error 3)")), "ESRCH");
  assertEquals(systemCode(error("Invalid argument (os error 22)")), undefined);
});

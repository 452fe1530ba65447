import { assertEquals } from "@std/assert";
import { settled } from "../../lib/files/fingerprints.ts";

Deno.test("settled() is false when the clock was set back", () => {
  const print = { size: 1, modified: 10_000, changed: 10_000, inode: 1 };
  assertEquals(settled(print, 13_000), true);
  assertEquals(settled(print, 11_000), false);
  assertEquals(settled(print, 5_000), false);
});

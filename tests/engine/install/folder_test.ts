import { assertEquals, assertThrows } from "@std/assert";
import { cacheFolder } from "../../../lib/engine/install/folder.ts";

function folder(
  env: Record<string, string>,
  os: typeof Deno.build.os = "linux",
) {
  return cacheFolder((name) => env[name], os);
}

Deno.test("cacheFolder() prefers the user's choice, then XDG's, then the system's", () => {
  const all = { DYLORA_CACHE: "/own", XDG_CACHE_HOME: "/xdg", HOME: "/home/u" };
  assertEquals(folder(all), "/own");
  assertEquals(folder({ ...all, DYLORA_CACHE: "" }), "/xdg/dylora");
  assertEquals(
    folder({ XDG_CACHE_HOME: "relative", HOME: "/home/u" }),
    "/home/u/.cache/dylora",
  );
  assertEquals(
    folder({ HOME: "/Users/u" }, "darwin"),
    "/Users/u/Library/Caches/dylora",
  );
});

Deno.test("cacheFolder() rejects a relative DYLORA_CACHE and an environment without a home", () => {
  assertThrows(
    () => folder({ DYLORA_CACHE: "here" }),
    Error,
    'must be an absolute path, not "here"',
  );
  assertThrows(() => folder({}), Error, "set DYLORA_CACHE");
});

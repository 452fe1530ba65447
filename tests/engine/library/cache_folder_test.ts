import assert from "node:assert/strict";
import { cacheFolder } from "../../../lib/engine/install/folder.ts";

function folder(
  env: Record<string, string>,
  os: typeof Deno.build.os = "linux",
) {
  return cacheFolder((name) => env[name], os);
}

Deno.test("cacheFolder() prefers the user's choice, then XDG's, then the system's", () => {
  const all = { DYLORA_CACHE: "/own", XDG_CACHE_HOME: "/xdg", HOME: "/home/u" };
  assert.equal(folder(all), "/own");
  assert.equal(folder({ ...all, DYLORA_CACHE: "" }), "/xdg/dylora");
  assert.equal(
    folder({ XDG_CACHE_HOME: "relative", HOME: "/home/u" }),
    "/home/u/.cache/dylora",
  );
  assert.equal(
    folder({ HOME: "/Users/u" }, "darwin"),
    "/Users/u/Library/Caches/dylora",
  );
});

Deno.test("cacheFolder() refuses a relative DYLORA_CACHE and a machine without a home", () => {
  assert.throws(
    () => folder({ DYLORA_CACHE: "here" }),
    /must be an absolute path, not "here"/,
  );
  assert.throws(() => folder({}), /set DYLORA_CACHE/);
});

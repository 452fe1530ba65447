import {
  assert,
  assertEquals,
  assertNotMatch,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { type HUB_ENV, hubSettings } from "../../lib/hub/settings.ts";

type Environment = Partial<Record<typeof HUB_ENV[number], string>>;

const settings = (env: Environment) => hubSettings((name) => env[name]);

Deno.test("hubSettings() looks for the cache where Hugging Face's own tools do", () => {
  const home = { HOME: "/home/u" };
  const project = join(import.meta.dirname!, "../..");
  for (
    const [env, cache] of [
      [home, "/home/u/.cache/huggingface/hub"],
      [{ ...home, XDG_CACHE_HOME: "/xdg" }, "/xdg/huggingface/hub"],
      [{ ...home, XDG_CACHE_HOME: "/xdg", HF_HOME: "/hf" }, "/hf/hub"],
      [{ ...home, HF_HOME: "/hf", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
      [{ HF_HOME: "/hf", HF_HUB_CACHE: "/new" }, "/new"],
      [{ USERPROFILE: "/users/u" }, "/users/u/.cache/huggingface/hub"],
      [{ ...home, HF_HOME: "~/hf" }, "/home/u/hf/hub"],
      [{ ...home, HF_HUB_CACHE: "~" }, "/home/u"],
      [{ ...home, HF_HOME: "hf" }, join(project, "hf/hub")],
    ] as const
  ) {
    assertEquals(settings(env).cache, join(cache));
  }
  assertThrows(() => settings({}), Error, "set HF_HOME");
});

Deno.test("hubSettings() honours endpoint, token and the values that mean offline", () => {
  const home = { HOME: "/home/u" };
  assertEquals(settings(home).endpoint, "https://huggingface.co");
  assertEquals(
    settings({ ...home, HF_ENDPOINT: "http://mirror:8080/" }).endpoint,
    "http://mirror:8080",
  );
  assertEquals(settings({ ...home, HF_TOKEN: "hf_x" }).token, "hf_x");
  for (const value of ["1", "ON", "yes", "True"]) {
    assert(settings({ ...home, HF_HUB_OFFLINE: value }).offline, value);
  }
  for (const value of ["", "0", "no", "false"]) {
    assert(!settings({ ...home, HF_HUB_OFFLINE: value }).offline, value);
  }
});

Deno.test("hubSettings() rejects an invalid value, naming the variable without showing a token", () => {
  const home = { HOME: "/home/u" };
  assertThrows(
    () => settings({ ...home, HF_ENDPOINT: "hf-mirror.com" }),
    RangeError,
    'HF_ENDPOINT is "hf-mirror.com"',
  );
  const { message } = assertThrows(
    () => settings({ ...home, HF_TOKEN: "secret" }),
    RangeError,
    'HF_TOKEN does not start with "hf_"',
  );
  assertNotMatch(message, /secret/);
});

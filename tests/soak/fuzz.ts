import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { listFiles } from "../../lib/store/tree.ts";

/** Runs all tests that feed parsers random inputs (`fuzz_test.ts`), with so many each. */
export function fuzzParsers(inputs: number): void {
  const tests = fileURLToPath(import.meta.resolve("../"));
  const files = listFiles(tests, "follow")
    .filter((path) => /(^|[/_])fuzz_test\.ts$/.test(path))
    .map((path) => tests + path);
  assert.ok(files.length > 0);
  const { success } = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", ...files],
    env: { DYLORA_FUZZ_RUNS: String(inputs) },
    stdout: "inherit",
    stderr: "inherit",
  }).outputSync();
  assert.ok(success, "a parser failed");
}

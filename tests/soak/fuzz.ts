import { assert } from "@std/assert";
import { fileURLToPath } from "node:url";
import { signal } from "../../lib/scheduler/executors/local.ts";
import { listFiles } from "../../lib/store/blobs.ts";

/** Parsers that must have a fuzz test, each by a word of the test's path. */
const PARSERS = ["table", "safetensors", "tokenizer", "manifest"];

/** Seconds that all inputs may take on a busy machine. */
const limit = (inputs: number) => 300 + inputs / 10;

/** Minimum number of inputs per property. */
const EACH = 2_000;

/**
 * Runs all tests that feed parsers random inputs (`fuzz_test.ts`): this many
 * inputs per parser, and at least 2,000 per property. Kills them if one hangs.
 */
export async function fuzzParsers(inputs: number): Promise<void> {
  const tests = fileURLToPath(import.meta.resolve("../"));
  const files = listFiles(tests, "follow")
    .filter((path) => /(^|[/_])fuzz_test\.ts$/.test(path));
  for (const parser of PARSERS) {
    assert(files.some((path) => path.includes(parser)), parser);
  }
  const process = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--parallel", ...files.map((path) => tests + path)],
    env: {
      DYLORA_FUZZ_RUNS: String(EACH),
      DYLORA_FUZZ_INPUTS: String(inputs),
    },
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  let hangs = false;
  const timer = setTimeout(() => {
    hangs = true;
    signal(process.pid, "SIGKILL");
  }, limit(inputs) * 1000);
  const { success } = await process.status;
  clearTimeout(timer);
  assert(!hangs, `a parser hangs: not done after ${limit(inputs)} s`);
  assert(success, "a parser failed");
}

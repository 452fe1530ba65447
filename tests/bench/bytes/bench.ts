/**
 * Says whether a change of the engine changes what is trained: runs the
 * pipeline smoke of this checkout and of another commit on this machine, and
 * compares the weights of all adapters.
 *
 *     deno task bench bytes --against HEAD~3
 */
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { digestOf } from "../../../lib/artifacts/json_file.ts";
import {
  type Arguments,
  EXIT,
  UsageError,
} from "../../../lib/cli/arguments/arguments.ts";
import { benchmark } from "../options.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** `deno task bench bytes`. */
export const command = benchmark`
  bytes

  Compare the adapters that the pipeline smoke trains with those of another commit. Both are trained on this machine, from empty caches. Exits with 1 if any differs.

  Options:
  --against COMMIT  Commit of this repository to compare with (default: HEAD)

  Examples:
  What is not committed, against the last commit
  --against HEAD~3  Against an earlier commit
`(compareBytes);

async function compareBytes(args: Arguments): Promise<number> {
  const commit = args.value("against") ?? "HEAD";
  const folder = await Deno.makeTempDir({ prefix: "bench-" });
  const checkout = join(folder, "checkout");
  try {
    const added = await run(ROOT, "git", [
      ...["worktree", "add", "--quiet", "--detach", checkout, commit],
    ]);
    if (!added) throw new UsageError(`Cannot check out "${commit}"`);
    const there = await trainSmoke(checkout, join(folder, "there"));
    const here = await trainSmoke(ROOT, join(folder, "here"));
    let differences = 0;
    for (const path of new Set([...there.keys(), ...here.keys()])) {
      const isSame = there.get(path) === here.get(path);
      if (!isSame) differences++;
      console.log(`${isSame ? "same   " : "differs"}  ${path}`);
    }
    return differences === 0 ? EXIT.success : EXIT.failed;
  } finally {
    await run(ROOT, "git", ["worktree", "remove", "--force", checkout]);
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Runs smoke of a checkout.
 *
 * @param out An empty folder for its results
 * @returns SHA-256 of the weights of each adapter, by path
 */
async function trainSmoke(
  root: string,
  out: string,
): Promise<Map<string, string>> {
  const hasRun = await run(root, Deno.execPath(), [
    ...["run", "-A", "--unstable-lazy-dynamic-imports"],
    ...["--config", join(root, "deno.json"), join(root, "lib/cli/main.ts")],
    ...["pipeline", "smoke", "--out", out],
  ]);
  if (!hasRun) throw new Error(`The pipeline smoke failed in ${root}`);
  const digests = new Map<string, string>();
  const search = async (folder: string) => {
    for await (const { name, isDirectory, isSymlink } of Deno.readDir(folder)) {
      const path = join(folder, name);
      if (isDirectory || isSymlink && (await Deno.stat(path)).isDirectory) {
        await search(path);
      } else if (name === "adapter_model.safetensors") {
        digests.set(relative(out, path), await digestOf(path));
      }
    }
  };
  await search(join(out, "smoke"));
  if (digests.size === 0) throw new Error(`No adapters in ${out}`);
  return digests;
}

/** Runs a program, which prints to standard error; true if it succeeds. */
async function run(
  cwd: string,
  program: string,
  args: readonly string[],
): Promise<boolean> {
  const { success, stdout } = await new Deno.Command(program, {
    args: [...args],
    cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).output();
  await Deno.stderr.write(stdout);
  return success;
}

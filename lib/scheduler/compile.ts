import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { GraphStage } from "../pipeline/graph.ts";
import { canonicalJson, digest } from "../store/digest.ts";
import { temporarySuffix, writeDurably } from "../store/files.ts";
import { fingerprint } from "../store/stats.ts";
import type { Context } from "./context.ts";
import { denoFolder, stageEnvironment } from "./permissions.ts";
import type { Runtime } from "./settings.ts";

/** The last compilation of each entry. */
const compiled = new Map<string, Promise<void>>();

/**
 * Fills Deno's caches with the compiled modules of a stage that cannot write to
 * them, by loading the modules once in a process without inputs, outputs and
 * native code. Otherwise such a stage would compile everything at each start. A
 * file in the cache records that this was done for the code.
 *
 * @param entry URL of the module that the stage's process starts from.
 * @param flags Flags of Deno by which it resolves imports.
 */
export function compileOnce(
  context: Context,
  stage: GraphStage,
  entry: string,
  runtimes: readonly Runtime[],
  flags: readonly string[],
): Promise<void> {
  const { store } = context;
  const deno = denoFolder();
  const question = canonicalJson([
    entry,
    context.code.get(stage.module)!.files,
    runtimes.flatMap(({ modules = [] }) => modules),
    Deno.version.deno,
    deno,
    fingerprint(deno)?.inode ?? 0,
  ]);
  const note = join(store.makeFolder("entries"), `${digest(question)}.done`);
  if (fingerprint(note) !== undefined) return Promise.resolve();
  let done = compiled.get(note);
  if (done === undefined) {
    done = compile(entry, runtimes, flags, note);
    compiled.set(note, done);
  }
  return done;
}

async function compile(
  entry: string,
  runtimes: readonly Runtime[],
  flags: readonly string[],
  note: string,
): Promise<void> {
  const late = runtimes.flatMap(({ modules = [] }) => modules);
  const imports = Deno.readTextFileSync(fileURLToPath(entry)).split("\n")
    .filter((line) => line.startsWith("import "));
  const module = note.replace(/\.done$/, `.${temporarySuffix()}.js`);
  writeDurably(
    module,
    [...imports, ...late.map((url) => `import ${JSON.stringify(url)};`), ""]
      .join("\n"),
  );
  // If it fails, so does the stage, which says why; the next one tries again.
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [...flags, "--no-prompt", module],
    env: stageEnvironment({}, [], Deno.env.get("TMPDIR") ?? "/tmp"),
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  Deno.removeSync(module);
  if (success) Deno.writeTextFileSync(note, "");
}

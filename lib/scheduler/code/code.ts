import { canonicalJson } from "../../store/canonical.ts";
import { quickChecksum } from "../../store/quick_checksum.ts";
import { readSealed, writeSealed } from "../../store/sealed.ts";
import type { Store } from "../../store/store.ts";
import { CHILD, listCode, reachable } from "./listing.ts";
import { moduleGraph } from "./modules.ts";
import { projectSettings } from "./project.ts";

const VERSION = 3;

/** The code of one task. */
export interface TaskCode {
  /** Digest of its `CodeListing`, which is a blob. */
  readonly listing: string;
  /** The files that it was read from and their digests: while these hold, so does the listing. */
  readonly files: readonly (readonly [path: string, raw: string])[];
}

/**
 * The code of tasks, by the URL of their modules. What was found is kept with
 * the digests of the files that it was found from, so that nothing is parsed
 * again until one of these changes.
 *
 * @throws {Error} If a module is missing, does not parse, or imports what cannot be followed.
 */
export async function taskCode(
  modules: readonly string[],
  project: string,
  store: Store,
): Promise<Map<string, TaskCode>> {
  const memo = readMemo(store.path("code.json"));
  const found = new Map<string, TaskCode>();
  for (const module of modules) {
    const known = memo.get(module);
    if (known !== undefined && await isCurrent(known, store)) {
      found.set(module, known);
    }
  }
  const missing = modules.filter((module) => !found.has(module));
  if (missing.length === 0) return found;
  for (const [module, code] of await readCode(missing, project, store)) {
    found.set(module, code);
    memo.set(module, code);
  }
  store.makeFolder();
  writeSealed(store.path("code.json"), {
    version: VERSION,
    tasks: Object.fromEntries(memo),
  }, quickChecksum);
  return found;
}

/** True if none of the files that the code was read from has changed. */
export async function isCurrent(
  code: TaskCode,
  store: Store,
): Promise<boolean> {
  for (const [path, raw] of code.files) {
    if ((await store.stats.digest(path) ?? "") !== raw) return false;
  }
  return store.blobs.text(code.listing) !== undefined;
}

async function readCode(
  tasks: readonly string[],
  project: string,
  store: Store,
): Promise<Map<string, TaskCode>> {
  // Loading esbuild takes longer than a run that has nothing to do.
  const { isReducible, reduceModules, stopReducing } = await import(
    "./reduce.ts"
  );
  const settings = projectSettings(project);
  const graph = await graphOf([...tasks, CHILD], project);
  const reduced = await reduceModules(
    settings.asWritten ? [] : [...graph.modules.values()].filter(isReducible),
    settings.emit,
  );
  await stopReducing();
  const texts = new Map<string, string>();
  const found = new Map<string, TaskCode>();
  for (const task of tasks) {
    const members = reachable([task, CHILD], graph, reduced);
    for (const specifier of members) {
      const text = reduced.get(specifier)?.text ??
        graph.modules.get(specifier)!.text;
      texts.set(specifier, (await store.blobs.putBytes(text)).blob);
    }
    const listing = listCode(
      task,
      members,
      graph,
      reduced,
      texts,
      project,
      settings,
    );
    found.set(task, {
      listing: (await store.blobs.putBytes(canonicalJson(listing))).blob,
      files: [
        ...settings.files,
        ...[...members].map((specifier) => {
          const { path, raw } = graph.modules.get(specifier)!;
          return [path, raw] as const;
        }),
      ],
    });
  }
  return found;
}

/** The graph of all modules at once: one question to the runtime. */
async function graphOf(modules: readonly string[], project: string) {
  const folder = Deno.makeTempDirSync({ prefix: "modules-" });
  try {
    const entry = `${folder}/entry.js`;
    Deno.writeTextFileSync(
      entry,
      modules.map((module) => `import ${JSON.stringify(module)};\n`).join(""),
    );
    Deno.utimeSync(entry, 0, 0);
    return await moduleGraph(entry, project);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function readMemo(path: string): Map<string, TaskCode> {
  const sealed = readSealed(path, quickChecksum);
  return sealed.state === "whole" && sealed.value.version === VERSION
    ? new Map(Object.entries(sealed.value.tasks as Record<string, TaskCode>))
    : new Map();
}

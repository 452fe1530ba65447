import { canonicalJson, quickChecksum } from "../files/digest.ts";
import { byDotPath, type KeyParts, type Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";
import { bundleTasks, placesOf, sectionsOf } from "./bundle.ts";

/** A difference between the parts of two keys. */
export interface Change {
  readonly kind: "code" | "param" | "source" | "input" | "runtime";
  /** A module's path, a parameter's dot path (followed, for a source, by the changed file) or an input's name. */
  readonly name: string;
  /** Earlier value; undefined if it is new. For modules, a checksum of their code in the bundle. */
  readonly before?: string;
  /** Present value; undefined if it was removed. */
  readonly after?: string;
}

/** Differences between the parts of two keys. */
export async function changes(
  before: KeyParts,
  after: KeyParts,
  store: Store,
): Promise<Change[]> {
  return [
    ...await codeChanges(before.code, after.code, store),
    ...compare("param", texts(before.params), texts(after.params)),
    ...await sourceChanges(before.sources, after.sources, store),
    ...compare("input", inputs(before.inputs), inputs(after.inputs)),
    ...compare("runtime", before.runtimes, after.runtimes),
  ];
}

/** Values by name. */
type Named = Readonly<Record<string, string>>;

function compare(kind: Change["kind"], before: Named, after: Named): Change[] {
  const was = new Map(Object.entries(before));
  const is = new Map(Object.entries(after));
  return [...new Set([...was.keys(), ...is.keys()])]
    .filter((name) => was.get(name) !== is.get(name))
    .map((name) => {
      const [old, now] = [was.get(name), is.get(name)];
      return {
        kind,
        name,
        ...(old !== undefined && { before: old }),
        ...(now !== undefined && { after: now }),
      };
    });
}

async function codeChanges(
  before: string,
  after: string,
  store: Store,
): Promise<Change[]> {
  if (before === after) return [];
  const old = await modulesOf(before, store);
  const now = await modulesOf(after, store);
  return old === undefined || now === undefined
    ? [{ kind: "code", name: "of the task", before, after }]
    : compare("code", old, now);
}

/** What {@linkcode modulesOf} has found, which takes 0.2 s for a bundle with the engine. */
const found = new Map<string, Named>();

/** Checksums of the modules in a bundle; undefined if the cache lacks it. */
async function modulesOf(
  bundle: string,
  { blobs }: Store,
): Promise<Named | undefined> {
  const known = found.get(bundle);
  if (known !== undefined) return known;
  const text = await blobs.text(bundle);
  if (text === undefined) return undefined;
  const modules: Record<string, string> = {};
  for (const { module, lines } of sectionsOf(text)) {
    const before = modules[module] ?? "";
    modules[module] = quickChecksum(before + lines.join("\n"));
  }
  found.set(bundle, modules);
  return modules;
}

/** Changed files of sources that are folders whose listings are known; else the changed sources. Digests are abbreviated. */
async function sourceChanges(
  before: Named,
  after: Named,
  { listings }: Store,
): Promise<Change[]> {
  const found: Change[] = [];
  for (const change of compare("source", before, after)) {
    const [old, now] = await Promise.all(
      [change.before, change.after].map((it) => it && listings.files(it)),
    );
    if (!old || !now || old.size + now.size < 3) found.push(change);
    else {
      const [was, is] = [Object.fromEntries(old), Object.fromEntries(now)];
      for (const file of compare("source", was, is)) {
        found.push({ ...file, name: `${change.name} ${file.name}` });
      }
    }
  }
  return found.map(({ before, after, ...change }) => ({
    ...change,
    ...(before !== undefined && { before: before.slice(0, 12) }),
    ...(after !== undefined && { after: after.slice(0, 12) }),
  }));
}

/** Parameters by their dot paths, as JSON. */
function texts(params: KeyParts["params"]): Named {
  return Object.fromEntries(
    byDotPath(params).map(([path, value]) => [path, canonicalJson(value)]),
  );
}

/** What the task sees of each input, as text. */
function inputs(parts: KeyParts["inputs"]): Named {
  return Object.fromEntries(
    Object.entries(parts).flatMap(([name, list]) =>
      list.map(({ stage, content, seconds, metrics }, i) => [
        stage ?? (list.length > 1 ? `${name}[${i}]` : name),
        [
          content.slice(0, 8),
          ...(seconds === undefined ? [] : [`in ${seconds.toFixed(3)} s`]),
          ...(metrics === undefined ? [] : [canonicalJson(metrics)]),
        ].join(" "),
      ])
    ),
  );
}

/** The first three differences, as text: `param lr 0.0004 -> 0.0005`. */
export function describeChanges(changes: readonly Change[]): string {
  const words = changes.slice(0, 3).map(describeChange);
  const more = changes.length - words.length;
  return words.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function describeChange({ kind, name, before, after }: Change): string {
  if (before === undefined) {
    return `${kind} ${name} is new${kind === "param" ? `: ${after}` : ""}`;
  }
  if (after === undefined) return `${kind} ${name} was removed`;
  return kind === "code" || kind === "source" || after === before
    ? `${kind} ${name} changed`
    : `${kind} ${name} ${before} -> ${after}`;
}

/**
 * The earlier result of a stage with the fewest differences, and these; the
 * latest if there are several.
 *
 * @param except Key of a result to leave out.
 */
export async function nearest(
  pipeline: string,
  stage: string,
  parts: KeyParts,
  store: Store,
  except?: string,
) {
  let best: { manifest: Manifest; changes: readonly Change[] } | undefined;
  for (const manifest of store.results(pipeline, stage)) {
    if (manifest.key === except) continue;
    const differences = await changes(manifest.parts, parts, store);
    if (best === undefined || differences.length < best.changes.length) {
      best = { manifest, changes: differences };
    }
  }
  return best;
}

/** Why the cache has no result for the parts of a key, in one line. */
export async function explainMiss(
  pipeline: string,
  stage: string,
  parts: KeyParts,
  store: Store,
): Promise<string> {
  const { failure } = store.histories.read(pipeline, stage);
  const found = await nearest(pipeline, stage, parts, store);
  if (found !== undefined && found.changes.length > 0) {
    return describeChanges(found.changes);
  }
  if (failure === undefined) return "no earlier result";
  return failure.interrupted
    ? "the last run was interrupted"
    : "the last run failed";
}

/** A place where the code of a module differs. */
export type CodeHunk = Awaited<ReturnType<typeof codeHunks>>[number];

/**
 * Differences between two bundles, by lines of the present files. Packages, and
 * modules that only one of them has, are left out.
 *
 * @param before Blob of the earlier bundle.
 * @param after Blob of the bundle in the key, which is made again, with a source map.
 * @param task URL of the task's module.
 */
export async function codeHunks(
  before: string,
  after: string,
  project: string,
  task: string,
  store: Store,
) {
  const old = await store.blobs.text(before);
  if (old === undefined || before === after) return [];
  const bundles = await bundleTasks([task], project, true);
  const bundle = bundles.get(task)!;
  const placeOf = await placesOf(bundle);
  const bundled = bundle.text.split("\n");
  const lineOf = (line: number) => {
    const indent = /^ */.exec(bundled[line] ?? "")![0].length;
    return (placeOf(line, indent)?.originalLine ?? line) + 1;
  };
  const earlier = new Map(sectionsOf(old).map((it) => [it.module, it.lines]));
  const { structuredPatch } = await import("diff");
  const text = (lines: readonly string[]) =>
    lines.map((line) => `${line}\n`).join("");
  return sectionsOf(bundle.text).flatMap(({ module, start, lines }) => {
    const then = earlier.get(module);
    // The name of a package has a version: `zod@4.6.7`.
    if (then === undefined || /.@\d/.test(module)) return [];
    const texts = [text(then), text(lines)] as const;
    const patch = structuredPatch("", "", ...texts, "", "", { context: 0 });
    return patch.hunks.map(({ newStart, newLines, lines }) => {
      const from = start + newStart - 1;
      const marked = (mark: string) =>
        lines.filter((it) => it.startsWith(mark)).map((it) => it.slice(1));
      return {
        /** Path of the module relative to the project. */
        module,
        /** First and last line in the present file, 1-based; equal if statements were only removed. */
        from: lineOf(from),
        to: lineOf(from + Math.max(newLines, 1) - 1),
        /** Statements, without comments, types and formatting. */
        removed: marked("-"),
        added: marked("+"),
      };
    });
  });
}

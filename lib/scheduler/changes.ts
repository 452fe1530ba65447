import { canonicalJson, quickChecksum } from "../files/digest.ts";
import { byDotPath, type KeyParts, type Manifest } from "../store/manifests.ts";
import { filesIn } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import { readIfThere } from "../files/files.ts";
import { resolve } from "../files/paths.ts";
import {
  bundleTasks,
  type Section,
  sectionsOf,
  sourcePositions,
} from "./bundle.ts";
import type { ReadSources } from "./key.ts";

/** A difference between the parts of two keys. */
export interface Change {
  readonly kind: "code" | "param" | "source" | "input" | "runtime";
  /**
   * A module's path, a parameter's dot path (followed, for a source, by the
   * changed file) or an input's name.
   */
  readonly name: string;
  /**
   * Earlier value; undefined if it is new. For modules, a checksum of their
   * code in the bundle.
   */
  readonly before?: string;
  /** Present value; undefined if it was removed. */
  readonly after?: string;
}

/**
 * Differences between the parts of two keys.
 *
 * @param listings Listings of sources by their SHA-256, beside those that the
 * cache has.
 */
export async function changes(
  before: KeyParts,
  after: KeyParts,
  store: Store,
  listings: Listings = new Map(),
): Promise<Change[]> {
  return [
    ...await codeChanges(before.code, after.code, store),
    ...compare("param", texts(before.params), texts(after.params)),
    ...await sourceChanges(before.sources, after.sources, store, listings),
    ...compare("input", inputs(before.inputs), inputs(after.inputs)),
    ...compare("runtime", before.runtimes, after.runtimes),
  ];
}

type Listings = ReadSources["listings"];

/** Values by name. */
type Named = Readonly<Record<string, string>>;

function compare(kind: Change["kind"], before: Named, after: Named): Change[] {
  const was = new Map(Object.entries(before));
  const is = new Map(Object.entries(after));
  return [...new Set([...was.keys(), ...is.keys()])]
    .filter((name) => was.get(name) !== is.get(name))
    .map((name) => {
      const old = was.get(name);
      const now = is.get(name);
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
  if (old === undefined || now === undefined) {
    return [{ kind: "code", name: "of the task", before, after }];
  }
  const changes = compare("code", old, now);
  if (changes.length === 0) {
    return [{ kind: "code", name: "of the task", before, after }];
  }
  // Of a package of the same version, other parts are used: less than an edit.
  const isPackage = ({ name }: Change) => PACKAGE_NAME.test(name);
  return [
    ...changes.filter((it) => !isPackage(it)),
    ...changes.filter(isPackage),
  ];
}

/** Matches the name of a package, which has a version: `zod@4.6.7`. */
const PACKAGE_NAME = /.@\d/;

/**
 * Results of {@linkcode modulesOf} by bundle: one with the engine takes 0.2 s.
 */
const modulesByBundle = new Map<string, Named>();

/** Checksums of the modules in a bundle; undefined if the cache lacks it. */
async function modulesOf(
  bundle: string,
  { blobs }: Store,
): Promise<Named | undefined> {
  const remembered = modulesByBundle.get(bundle);
  if (remembered !== undefined) return remembered;
  const text = await blobs.text(bundle);
  if (text === undefined) return undefined;
  const modules: Record<string, string> = {};
  for (const { module, lines } of sectionsOf(text)) {
    const before = modules[module] ?? "";
    const written = lines.filter((line) => !GENERATED.test(line));
    modules[module] = quickChecksum(before + written.join("\n"));
  }
  modulesByBundle.set(bundle, modules);
  return modules;
}

/**
 * The changed files of a source that is a folder, if both listings can be read;
 * else the source. Digests are abbreviated.
 */
async function sourceChanges(
  before: Named,
  after: Named,
  { blobs }: Store,
  listings: Listings,
): Promise<Change[]> {
  const filesOf = async (listing: string | undefined) => {
    // A source that only one of the two has.
    if (listing === undefined) return undefined;
    const text = listings.get(listing) ?? await blobs.text(listing);
    return text === undefined ? undefined : filesIn(text);
  };
  const changed: Change[] = [];
  for (const change of compare("source", before, after)) {
    const old = await filesOf(change.before);
    const now = await filesOf(change.after);
    if (!old || !now || old.size + now.size < 3) changed.push(change);
    else {
      const was = Object.fromEntries(old);
      const is = Object.fromEntries(now);
      for (const file of compare("source", was, is)) {
        changed.push({ ...file, name: `${change.name} ${file.name}` });
      }
    }
  }
  return changed.map(({ before, after, ...change }) => ({
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

/** An earlier result of a stage, and its differences from the present key. */
interface ComparedResult {
  readonly manifest: Manifest;
  readonly changes: readonly Change[];
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
  listings: Listings,
  except?: string,
): Promise<ComparedResult | undefined> {
  let best: ComparedResult | undefined;
  for (const manifest of store.results(pipeline, stage)) {
    if (manifest.key === except) continue;
    const differences = await changes(manifest.parts, parts, store, listings);
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
  listings: Listings,
): Promise<string> {
  const { unfinished } = store.histories.read(pipeline, stage);
  const earlier = await nearest(pipeline, stage, parts, store, listings);
  if (earlier !== undefined && earlier.changes.length > 0) {
    return describeChanges(earlier.changes);
  }
  switch (unfinished?.state) {
    case undefined:
      return "no earlier result";
    case "interrupted":
      return "the last run was interrupted";
    case "failed":
      return "the last run failed";
  }
}

/** Lines in which the code of a module differs. */
export interface CodeHunk {
  /** Path of the module relative to the project. */
  readonly module: string;
  /** First line in the present file, 1-based. */
  readonly from: number;
  /** Last line; equal to `from` if statements were only removed. */
  readonly to: number;
  /** Statements, without comments, types and formatting. */
  readonly removed: readonly string[];
  readonly added: readonly string[];
}

/**
 * Differences between two bundles, by lines of the present files. Packages, and
 * modules that only one of them has, are left out, as is what the bundler has
 * made: calls that evaluate other modules, and numbers after names.
 *
 * @param before Blob of the earlier bundle.
 * @param after Blob of the bundle in the key, which is made again, with a
 * source map.
 * @param task URL of the task's module.
 */
export async function codeHunks(
  before: string,
  after: string,
  project: string,
  task: string,
  store: Store,
): Promise<CodeHunk[]> {
  const old = await store.blobs.text(before);
  if (old === undefined || before === after) return [];
  const bundles = await bundleTasks([task], project, true);
  const bundle = bundles.get(task)!;
  const positionOf = await sourcePositions(bundle);
  const bundled = bundle.text.split("\n");
  const earlier = Map.groupBy(sectionsOf(old), ({ module }) => module);
  const now = Map.groupBy(sectionsOf(bundle.text), ({ module }) => module);
  const { structuredPatch } = await import("diff");
  const hunks: CodeHunk[] = [];
  for (const [module, sections] of now) {
    const then = earlier.get(module);
    if (then === undefined || PACKAGE_NAME.test(module)) continue;
    const source = readIfThere(resolve(project, module)) ?? "";
    const words = new Set(source.match(/[\w$]+/g));
    const removable = statementsOf(then, words);
    const present = statementsOf(sections, words);
    const patch = structuredPatch(
      "",
      "",
      textOf(removable),
      textOf(present),
      "",
      "",
      { context: 0 },
    );
    const last = sections.at(-1)!;
    const end = last.start + last.lines.length;
    /**
     * Line in the file of a statement from its nth word on, or of the next
     * statement that has a line.
     */
    const lineOf = (index: number, word = 0): number => {
      const next = present[Math.min(index, present.length - 1)]?.line ?? end;
      for (let line = next; line < end; line++) {
        const text = bundled[line]!;
        const starts = [...text.matchAll(/[\w$]+/g)].map((it) => it.index);
        const indent = /^ */.exec(text)![0].length;
        const column = line === next && word > 0 ? starts[word] : indent;
        const position = positionOf(line, column ?? indent);
        if (position !== undefined) return position.originalLine + 1;
      }
      return source.split("\n").length;
    };
    const changed: CodeHunk[] = [];
    for (const { oldStart, oldLines, newStart, newLines } of patch.hunks) {
      const first = newStart - 1;
      const removed = removable.slice(oldStart - 1, oldStart - 1 + oldLines)
        .map(({ text }) => text);
      const added = present.slice(first, first + newLines)
        .map(({ text }) => text);
      if ([...removed, ...added].every((it) => BLOCK_END.test(it))) continue;
      const from = lineOf(first, changedWord(removed[0], added[0]));
      const to = lineOf(first + Math.max(newLines, 1) - 1);
      changed.push({ module, from, to: Math.max(from, to), removed, added });
    }
    // The bundler declares the names of a module that is evaluated later.
    const told = changed.filter(({ removed, added }) =>
      ![...removed, ...added].every((it) => NAMES.test(it))
    );
    hunks.push(...told.length > 0 ? told : changed);
  }
  return hunks;
}

/** Matches the end of a block, which the bundler may have made. */
const BLOCK_END = /^[\s});,]*$/;

/** Matches declarations without values. */
const NAMES = /^\s*var [\w$]+(?:, [\w$]+)*;$/;

/**
 * Index of the first word in which a statement differs from an earlier one; 0
 * if there is no earlier one.
 */
function changedWord(before = "", after = ""): number {
  const old = before.match(/[\w$]+/g) ?? [];
  const words = after.match(/[\w$]+/g) ?? [];
  const index = words.findIndex((word, i) => word !== old[i]);
  return old.length === 0 || index < 0 ? 0 : index;
}

/**
 * Matches lines that the bundler makes: what evaluates other modules, what
 * makes a module one that is evaluated later, and what keeps names.
 */
const GENERATED =
  /^\s*(?:(?:await )?(?:init|require)_\w+\(\);|__name\([\w$]+, "[^"]*"\);|var \w+ = __(?:esm|commonJS)\(\{|(?:async )?"(?:code|commonjs):.*"\(.*\) \{|(?:var )?import_\w+ = __toESM\(.*\);|__export\(\w+, \{|var import_\w+;)$/;

/** A line of a section of a bundle. */
interface Statement {
  readonly text: string;
  /** Its line in the bundle, from 0. */
  readonly line: number;
}

/**
 * The lines of a module's sections that come from the module, with the names
 * that it has there: esbuild appends numbers to names that two modules have.
 *
 * @param words Words of the module's file.
 */
function statementsOf(
  sections: readonly Section[],
  words: ReadonlySet<string>,
): Statement[] {
  const statements: Statement[] = [];
  for (const { start, lines } of sections) {
    lines.forEach((text, i) => {
      if (GENERATED.test(text)) return;
      const named = text.replaceAll(
        /(?<![\w$])([A-Za-z_$][\w$]*?)\d+(?![\w$])/g,
        (name, base) => !words.has(name) && words.has(base) ? base : name,
      );
      statements.push({ text: named, line: start + i });
    });
  }
  return statements;
}

/** Text to compare, in which indentation does not count. */
function textOf(statements: readonly Statement[]): string {
  return statements.map(({ text }) => `${text.trim()}\n`).join("");
}

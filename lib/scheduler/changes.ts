import { diffArrays } from "diff";
import { SourceMap } from "node:module";
import { canonicalJson } from "../store/digest.ts";
import type { InputPart, KeyParts, Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";
import { type CodeListing, modulePath } from "./code.ts";
import { projectSettings } from "./modules.ts";

/** One way in which a stage's key differs from an earlier one. */
export interface Change {
  readonly kind: "code" | "param" | "source" | "input" | "runtime";
  /** What changed: a module's path, a parameter's dot path (and a file of the folder that it names), an input's name. */
  readonly name: string;
  /** What it was; undefined if it is new. For modules, the blob of the reduced text. */
  readonly before?: string;
  /** What it is; undefined if it is gone. */
  readonly after?: string;
}

/** How the parts of a key differ from those of another. */
export function changes(
  before: KeyParts,
  after: KeyParts,
  store: Store,
): Change[] {
  return [
    ...codeChanges(before.code, after.code, store),
    ...compare("param", flat(before.params), flat(after.params)),
    ...sourceChanges(before.sources, after.sources, store),
    ...compare("input", inputs(before.inputs), inputs(after.inputs)),
    ...compare(
      "runtime",
      entries(before.runtimes),
      entries(after.runtimes),
    ),
  ];
}

/** Differences in words, the first three: `param lr 0.0004 -> 0.0005`. */
export function describeChanges(changes: readonly Change[]): string {
  const words = changes.slice(0, 3).map(describeChange);
  const more = changes.length - words.length;
  return words.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function describeChange({ kind, name, before, after }: Change): string {
  if (before === undefined) {
    return `${kind} ${name} is new${kind === "param" ? `: ${after}` : ""}`;
  }
  if (after === undefined) return `${kind} ${name} is gone`;
  return kind === "code" || kind === "source" || after === before
    ? `${kind} ${name} changed`
    : `${kind} ${name} ${before} -> ${after}`;
}

function codeChanges(before: string, after: string, store: Store): Change[] {
  if (before === after) return [];
  const [old, now] = [listing(before, store), listing(after, store)];
  if (old === undefined || now === undefined) {
    return [{ kind: "code", name: "of the task", before, after }];
  }
  const parts = (listing: CodeListing) =>
    new Map([
      ["entry", listing.entry] as const,
      ...Object.entries(listing.modules).map((
        [name, { text, imports }],
      ) => [name, `${text} ${canonicalJson(imports)}`] as const),
      ...entries(listing.packages),
      ...flat(listing.options),
    ]);
  return compare("code", parts(old), parts(now));
}

/** Of a folder that is known as it was, the files that changed; else the parameter that names the source. */
function sourceChanges(
  before: KeyParts["sources"],
  after: KeyParts["sources"],
  store: Store,
): Change[] {
  const changed = compare("source", entries(before), entries(after));
  return changed.flatMap((change) => {
    const [old, now] = [change.before, change.after].map((listing) =>
      listing === undefined ? undefined : store.listings.files(listing)
    );
    if (old === undefined || now === undefined || old.size + now.size < 3) {
      return [shortened(change)];
    }
    return compare("source", old, now).map((file) =>
      shortened({ ...file, name: `${change.name} ${file.name}` })
    );
  });
}

/** The change with as much of digests as tells them apart. */
function shortened({ before, after, ...change }: Change): Change {
  return {
    ...change,
    ...(before !== undefined && { before: before.slice(0, 12) }),
    ...(after !== undefined && { after: after.slice(0, 12) }),
  };
}

/** The code listing that a blob holds; undefined if it was cleaned up. */
function listing(blob: string, store: Store): CodeListing | undefined {
  const text = store.blobs.text(blob);
  return text === undefined ? undefined : JSON.parse(text) as CodeListing;
}

function compare(
  kind: Change["kind"],
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): Change[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((name) => before.get(name) !== after.get(name))
    .map((name) => {
      const [old, now] = [before.get(name), after.get(name)];
      return {
        kind,
        name,
        ...(old !== undefined && { before: old }),
        ...(now !== undefined && { after: now }),
      };
    });
}

function inputs(parts: KeyParts["inputs"]): Map<string, string> {
  return new Map(
    Object.entries(parts).flatMap(([name, list]) =>
      list.map((part, i) => [
        part.stage ?? (list.length > 1 ? `${name}[${i}]` : name),
        input(part),
      ])
    ),
  );
}

function input({ content, seconds, metrics }: InputPart): string {
  return [
    content.slice(0, 8),
    ...(seconds === undefined ? [] : [`in ${seconds.toFixed(3)} s`]),
    ...(metrics === undefined ? [] : [canonicalJson(metrics)]),
  ].join(" ");
}

function flat(value: unknown, path = ""): Map<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new Map([[path, canonicalJson(value)]]);
  }
  return new Map(
    Object.entries(value).flatMap(([name, member]) => [
      ...flat(member, path === "" ? name : `${path}.${name}`),
    ]),
  );
}

function entries(record: Readonly<Record<string, string>>) {
  return new Map(Object.entries(record));
}

/** An earlier result of a stage, and how what is wanted differs from it. */
interface Nearest {
  readonly manifest: Manifest;
  readonly changes: readonly Change[];
}

/**
 * The earlier result of a stage that differs least from the parts; the last of
 * equals.
 *
 * @param except The key of a result that is not wanted.
 */
export function nearest(
  pipeline: string,
  stage: string,
  parts: KeyParts,
  store: Store,
  except?: string,
): Nearest | undefined {
  let best: Nearest | undefined;
  for (const key of store.histories.read(pipeline, stage).keys) {
    if (key === except) continue;
    const found = store.manifests.read(key);
    if (found.state !== "found") continue;
    const { manifest } = found;
    const differences = changes(manifest.parts, parts, store);
    if (best === undefined || differences.length < best.changes.length) {
      best = { manifest, changes: differences };
    }
  }
  return best;
}

/** Why the cache has no result for the parts, in one line. */
export function explainMiss(
  pipeline: string,
  stage: string,
  parts: KeyParts,
  store: Store,
): string {
  const { failure } = store.histories.read(pipeline, stage);
  const found = nearest(pipeline, stage, parts, store);
  if (found !== undefined && found.changes.length > 0) {
    return describeChanges(found.changes);
  }
  return failure === undefined ? "no earlier result" : "the last run failed";
}

/** A place in a module where what it does was changed. */
export interface CodeHunk {
  /** Name of the module, as listings have it: its path below the project. */
  readonly module: string;
  /** Lines of the source file as it is now, 1-based; the same twice if lines were only removed there. */
  readonly from: number;
  readonly to: number;
  /** Statements before and after, without comments, types and formatting. */
  readonly removed: readonly string[];
  readonly added: readonly string[];
}

/**
 * Where the code of two listings differs, by lines of the source files as they
 * are now. Modules that are new or gone are left out.
 *
 * @param before Blob of the earlier listing.
 * @param after Blob of the listing of the code as it is now.
 * @param entry The task's own module.
 */
export async function codeHunks(
  before: string,
  after: string,
  project: string,
  entry: string,
  store: Store,
): Promise<CodeHunk[]> {
  const [old, now] = [listing(before, store), listing(after, store)];
  if (old === undefined || now === undefined) return [];
  const hunks: CodeHunk[] = [];
  for (const [module, { text }] of Object.entries(now.modules)) {
    const earlier = old.modules[module];
    if (earlier === undefined || earlier.text === text) continue;
    const [oldText, newText] = [earlier.text, text]
      .map((blob) => store.blobs.text(blob));
    if (oldText === undefined || newText === undefined) continue;
    const path = modulePath(module, project, entry);
    const lines = await sourceLines(path, newText, project);
    hunks.push(...hunksOf(module, oldText, newText, lines));
  }
  return hunks;
}

function hunksOf(
  module: string,
  before: string,
  after: string,
  sourceLine: (line: number) => number,
): CodeHunk[] {
  const hunks: CodeHunk[] = [];
  let line = 0;
  let open: { removed: string[]; added: string[]; start: number } | undefined;
  const close = () => {
    if (open === undefined) return;
    const { removed, added, start } = open;
    hunks.push({
      module,
      from: sourceLine(start),
      to: sourceLine(Math.max(start, start + added.length - 1)),
      removed,
      added,
    });
    open = undefined;
  };
  for (
    const part of diffArrays(before.split("\n"), after.split("\n"))
  ) {
    if (!part.added && !part.removed) {
      close();
      line += part.value.length;
      continue;
    }
    open ??= { removed: [], added: [], start: line };
    (part.added ? open.added : open.removed).push(...part.value);
    if (part.added) line += part.value.length;
  }
  close();
  return hunks;
}

/**
 * Tells the line of a source file (1-based) from a line of its reduced text
 * (0-based); the latter itself, counted from 1, if the file is no longer the
 * one that was reduced.
 */
async function sourceLines(
  path: string,
  reduced: string,
  project: string,
): Promise<(line: number) => number> {
  const asIs = (line: number) => line + 1;
  const { reduceText, stopReducing } = await import("./modules.ts");
  const mediaType = MEDIA_TYPES[path.slice(path.lastIndexOf("."))];
  if (mediaType === undefined) return asIs;
  let text: Uint8Array;
  try {
    text = Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return asIs;
    throw error;
  }
  const { emit } = projectSettings(project);
  const { code, map } = await reduceText({ path, text, mediaType }, emit);
  await stopReducing();
  if (code !== reduced) return asIs;
  const source = new SourceMap(JSON.parse(map));
  return (line) => {
    const indent = /^ */.exec(code.split("\n")[line] ?? "")![0].length;
    const entry = source.findEntry(line, indent);
    return "originalLine" in entry ? entry.originalLine + 1 : line + 1;
  };
}

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  ".ts": "TypeScript",
  ".mts": "Mts",
  ".js": "JavaScript",
  ".mjs": "Mjs",
};

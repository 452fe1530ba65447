import { diffArrays } from "diff";
import { SourceMap } from "node:module";
import type { Store } from "../../store/store.ts";
import { modulePath } from "./listing.ts";
import { listing } from "../decisions/miss.ts";
import { projectSettings } from "./project.ts";

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
    hunks.push(...compare(module, oldText, newText, lines));
  }
  return hunks;
}

function compare(
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
  const { reduceText, stopReducing } = await import("./reduce.ts");
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

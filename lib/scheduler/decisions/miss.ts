import { canonicalJson } from "../../store/canonical.ts";
import type { InputPart, KeyParts } from "../../store/manifest.ts";
import type { Store } from "../../store/store.ts";
import type { CodeListing } from "../code/listing.ts";

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
export function listing(blob: string, store: Store): CodeListing | undefined {
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

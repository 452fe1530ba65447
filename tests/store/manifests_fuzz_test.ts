import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { canonicalJson, digest } from "../../lib/files/digest.ts";
import { isManifest } from "../../lib/store/manifest_schema.ts";
import { type Manifest, Manifests } from "../../lib/store/manifests.ts";
import { treeDigest } from "../../lib/store/blobs.ts";
import { staysBounded, testProperty } from "../fuzz.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";

const PARTS = {
  code: await digest("code"),
  params: { lr: 1e-3, nested: { list: [1, "two", null, true] } },
  sources: { data: await digest("data") },
  inputs: {
    of: [{ content: await digest("of"), stage: "s", matrix: { seed: 0 } }],
  },
  runtimes: { engine: "tensorflow 2.21" },
};
const FILES = [
  { path: "a.txt", size: 1, blob: await digest("a") },
  { path: "deep/b.txt", size: 2, blob: await digest("b") },
];
const MANIFEST: Manifest = {
  version: 2,
  key: await digest(canonicalJson(PARTS)),
  parts: PARTS,
  task: "train",
  pipeline: "test",
  stage: "train@mrpc",
  started: "2026-01-01T00:00:00.000Z",
  runtime: "deno 2",
  seconds: 1.5,
  metrics: { loss: 0.25 },
  content: await treeDigest(FILES),
  files: FILES,
  log: { blob: await digest("log"), size: 3 },
};

/** Manifests with one manifest. */
function manifestsIn(folder: TemporaryFolder): Manifests {
  const manifests = new Manifests(folder.join("manifests"));
  manifests.write(MANIFEST);
  return manifests;
}

/** Replaces the manifest's file and reads it. */
function read(manifests: Manifests, bytes: Uint8Array) {
  Deno.writeFileSync(manifests.path(MANIFEST.key), bytes);
  return manifests.read(MANIFEST.key);
}

Deno.test("isManifest() refuses times and names that no run writes", () => {
  for (
    const wrong of [
      { started: "yesterday" },
      { started: "2026-01-01T24:00:00Z" },
      { started: "2026-02-30T00:00:00.000Z" },
      { started: "2026-01-01T00:00:00.000+01:00" },
      { metrics: { loss: "low" } },
      { seconds: Infinity },
      { stage: "a\nforged row" },
      { pipeline: "a\x1b[2J" },
      { parts: {} },
    ]
  ) {
    assertEquals(isManifest({ ...MANIFEST, ...wrong }), false);
  }
});

Deno.test("Manifests.read() returns what write() wrote", () => {
  using folder = new TemporaryFolder();
  const manifests = manifestsIn(folder);
  assertEquals(manifests.read(MANIFEST.key), {
    state: "found",
    manifest: MANIFEST,
  });
  assertEquals(manifests.keys(), [MANIFEST.key]);
});

testProperty(
  "Manifests.read() rejects a file with any byte changed",
  async () => {
    using folder = new TemporaryFolder();
    const manifests = manifestsIn(folder);
    const whole = Deno.readFileSync(manifests.path(MANIFEST.key));
    const meaning = (bytes: Uint8Array) => {
      try {
        return canonicalJson(JSON.parse(new TextDecoder().decode(bytes)));
      } catch {
        return undefined;
      }
    };
    await staysBounded(
      fc.tuple(
        fc.nat(whole.length - 1),
        fc.nat(255),
        fc.constantFrom("replace", "insert", "cut"),
      ),
      ([at, byte, how]) => {
        const bytes = how === "replace"
          ? whole.with(at, byte)
          : how === "insert"
          ? Uint8Array.from([...whole.slice(0, at), byte, ...whole.slice(at)])
          : whole.slice(0, at);
        if (meaning(bytes) === meaning(whole)) return;
        assertEquals(read(manifests, bytes).state, "unusable");
      },
    );
  },
);

testProperty("Manifests.read() does not throw on any bytes", async () => {
  using folder = new TemporaryFolder();
  const manifests = manifestsIn(folder);
  await staysBounded(
    fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json().map((text) => new TextEncoder().encode(text)),
    ),
    (bytes) => assertEquals(read(manifests, bytes).state, "unusable"),
  );
});

testProperty(
  "isManifest() rejects paths that lead out of the artifact",
  async () => {
    await staysBounded(
      fc.array(fc.constantFrom("..", ".", "", "a", "b.txt"), {
        minLength: 1,
        maxLength: 4,
      }),
      (steps) => {
        const path = steps.join("/");
        const files = [{ ...FILES[0]!, path }];
        const isFine = isManifest({ ...MANIFEST, files });
        const harmless = steps.every((step) => ["a", "b.txt"].includes(step));
        assertEquals(isFine, harmless, path);
      },
    );
  },
);

testProperty(
  "isManifest() rejects members of another type",
  async () => {
    await staysBounded(
      fc.tuple(fc.constantFrom(...Object.keys(MANIFEST)), fc.jsonValue()),
      ([name, value]) => {
        const changed = { ...MANIFEST, [name]: value } as Record<
          string,
          unknown
        >;
        const kind = (value: unknown) =>
          Array.isArray(value)
            ? "array"
            : value === null
            ? "null"
            : typeof value;
        const before = (MANIFEST as unknown as Record<string, unknown>)[name];
        if (kind(value) === kind(before)) return;
        assertEquals(isManifest(changed), false);
      },
    );
  },
);

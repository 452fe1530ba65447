import { z } from "zod";

/** Version of the manifests that this program writes. */
export const MANIFEST_VERSION = 1;

const Digest = z.string().regex(/^[0-9a-f]{64}$/);
const Matrix = z.record(z.string(), z.union([z.string(), z.number()]));

/** What a key holds of one artifact that a stage reads. */
const InputPart = z.strictObject({
  /** Digest of the artifact's tree. */
  content: Digest,
  /** Only of inputs that take many: what tells them apart. */
  stage: z.string().optional(),
  matrix: Matrix.optional(),
  /** Only for tasks with `timings`. */
  seconds: z.number().optional(),
  metrics: z.record(z.string(), z.number()).optional(),
});

/** All that a stage's result depends on; the digest of its canonical JSON is the stage's key. */
const KeyParts = z.strictObject({
  /** Digest of the listing of the task's code. */
  code: Digest,
  /** Parameters, less those that name sources. */
  params: z.record(z.string(), z.json()),
  /** Digest of the content that each source parameter names. */
  sources: z.record(z.string(), Digest),
  inputs: z.record(z.string(), z.array(InputPart)),
  /** Identity of each facility that the task needs. */
  facilities: z.record(z.string(), z.string()),
});

const File = z.strictObject({
  path: z.string().refine(
    (path) =>
      path !== "" && !path.startsWith("/") &&
      path.split("/").every((part) => part !== "" && part !== "." && part !== ".."),
    "a path below the artifact's folder",
  ),
  size: z.int().nonnegative(),
  blob: Digest,
});

/** What is recorded of a stage's run that succeeded. */
const Manifest = z.strictObject({
  version: z.literal(MANIFEST_VERSION),
  key: Digest,
  parts: KeyParts,
  /** For people: what ran, when and on what; no part of the key. */
  task: z.string(),
  pipeline: z.string(),
  stage: z.string(),
  started: z.iso.datetime(),
  runtime: z.string(),
  /** Wall-clock seconds of the run. */
  seconds: z.number().nonnegative(),
  /** Last value of each metric. */
  metrics: z.record(z.string(), z.number()),
  /** Digest of the artifact's tree. */
  content: Digest,
  files: z.array(File),
  /** The log, as JSON lines of events. */
  log: z.strictObject({ blob: Digest, size: z.int().nonnegative() }),
});

export type InputPart = z.infer<typeof InputPart>;
export type KeyParts = z.infer<typeof KeyParts>;
export type Manifest = z.infer<typeof Manifest>;

/** Checks what a manifest file holds. */
export function parseManifest(
  value: Record<string, unknown>,
): Manifest | { readonly fault: string } {
  const { version } = value;
  if (typeof version === "number" && version > MANIFEST_VERSION) {
    return {
      fault: `was written by a newer version of this program (${version})`,
    };
  }
  const parsed = Manifest.safeParse(value);
  return parsed.success ? parsed.data : { fault: "is not a manifest" };
}

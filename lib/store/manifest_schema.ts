/** Manifests of others. Loaded with a remote only, since a run with nothing to do loads no schemas. */
import * as z from "zod";
import { isDigest } from "../files/digest.ts";
import { type Manifest, MANIFEST_VERSION } from "./manifests.ts";

const Digest = z.string().refine(isDigest);
const Amount = z.number().nonnegative();

/** A text that cannot control a terminal or forge the line of another result. */
const Line = z.string().regex(/^\P{Cc}*$/u);

/** A path that cannot leave the folder to which it is joined. */
const Below = z.string().refine((path) =>
  path.split("/").every((part) => !["", ".", ".."].includes(part))
);

/** A manifest of anyone, except for what is in its `parts`. */
const ForeignManifest = z.looseObject({
  version: z.literal(MANIFEST_VERSION),
  key: Digest,
  parts: z.looseObject({ runtimes: z.looseObject({}) }),
  task: Line,
  pipeline: Line,
  stage: Line,
  runtime: Line,
  machine: Line.optional(),
  /** As `toISOString()` writes it. */
  started: z.iso.datetime({ precision: 3 }),
  seconds: Amount,
  metrics: z.record(z.string(), z.number()),
  content: Digest,
  files: z.array(z.looseObject({ path: Below, size: Amount, blob: Digest })),
  log: z.looseObject({ blob: Digest, size: Amount }),
});

/** The manifest that a value is; undefined if it is none. */
export function parseManifest(value: unknown): Manifest | undefined {
  const { success } = ForeignManifest.safeParse(value);
  return success ? value as Manifest : undefined;
}

/**
 * Schema of untrusted manifests. Loaded with a remote only, since a run with
 * nothing to do loads no schemas.
 */
import * as z from "zod";
import { isDigest } from "../files/digest.ts";
import type { ManifestBody } from "./manifests.ts";

/** A manifest of any signer and version, except for what is in its `parts`. */
export interface ForeignManifest extends ManifestBody {
  readonly version: number;
  readonly parts: { readonly runtimes: Readonly<Record<string, unknown>> };
}

const Digest = z.string().refine(isDigest);
const Amount = z.number().nonnegative();

/**
 * A text that cannot control a terminal or forge the line of another result.
 */
const Line = z.string().regex(/^\P{Cc}*$/u);

/** A path that cannot leave the folder to which it is joined. */
const Below = z.string().refine((path) =>
  path.split("/").every((part) => !["", ".", ".."].includes(part))
);

const Schema = z.object({
  version: Amount,
  key: Digest,
  parts: z.looseObject({ runtimes: z.looseObject({}) }),
  task: Line,
  pipeline: Line,
  stage: Line,
  runtime: Line,
  machine: Line.exactOptional(),
  started: z.iso.datetime({ precision: 3 }),
  seconds: Amount,
  metrics: z.record(z.string(), z.number()),
  content: Digest,
  files: z.array(z.object({ path: Below, size: Amount, blob: Digest }))
    .readonly(),
  log: z.object({ blob: Digest, size: Amount }),
}).refine(
  ({ files, log }) =>
    [...Map.groupBy([...files, log], ({ blob }) => blob).values()]
      .every((same) => same.every(({ size }) => size === same[0]!.size)),
  {
    error: "A blob has two sizes",
  },
) satisfies z.ZodType<ForeignManifest>;

/** True if a value is a manifest, of any version. */
export function isManifest(value: unknown): value is ForeignManifest {
  return Schema.safeParse(value).success;
}

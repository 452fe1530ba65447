/** Manifests of others. Loaded with a remote only, since a run with nothing to do loads no schemas. */
import * as z from "zod";
import { isDigest } from "../files/digest.ts";

const Digest = z.string().refine(isDigest);
const Amount = z.number().nonnegative();

/** A text that cannot control a terminal or forge the line of another result. */
const Line = z.string().regex(/^\P{Cc}*$/u);

/** A path that cannot leave the folder to which it is joined. */
const Below = z.string().refine((path) =>
  path.split("/").every((part) => !["", ".", ".."].includes(part))
);

const ForeignManifest = z.object({
  version: Amount,
  key: Digest,
  parts: z.looseObject({ runtimes: z.looseObject({}) }),
  /** Not part of the key: what ran, and on which version of Deno. */
  task: Line,
  pipeline: Line,
  stage: Line,
  runtime: Line,
  /** What computed it, on which its seconds depend; absent if it needed no runtime that says so. */
  machine: Line.exactOptional(),
  /** As `toISOString()` writes it. */
  started: z.iso.datetime({ precision: 3 }),
  /** Wall-clock seconds, to the millisecond. */
  seconds: Amount,
  /** Last value of each metric. */
  metrics: z.record(z.string(), z.number()),
  /** Digest of the artifact's tree. */
  content: Digest,
  files: z.array(z.object({ path: Below, size: Amount, blob: Digest }))
    .readonly(),
  /** The log, as JSON lines of events. */
  log: z.object({ blob: Digest, size: Amount }),
}).refine(
  ({ files, log }) =>
    [...Map.groupBy([...files, log], ({ blob }) => blob).values()]
      .every((same) => same.every(({ size }) => size === same[0]!.size)),
  {
    error: "A blob has two sizes",
  },
);

/** A manifest of anyone and any version, except for what is in its `parts`. */
export type ForeignManifest = z.infer<typeof ForeignManifest>;

/** True if a value is a manifest, of any version. */
export function isManifest(value: unknown): value is ForeignManifest {
  return ForeignManifest.safeParse(value).success;
}

import * as z from "zod";
import { dylora } from "./dylora.ts";
import { fixed } from "./fixed.ts";
import { matryoshka } from "./matryoshka.ts";
import type { Schedule } from "./schedule.ts";

const SCHEDULES = [dylora, fixed, matryoshka] as const;

export const SCHEDULE_NAMES = SCHEDULES.map(({ name }) => name);

/**
 * The method of a training: the name of its schedule, with the schedule's
 * settings. `map()` loses which schedule has which settings, so the tuple's
 * type is given again.
 */
export const Method = z.discriminatedUnion(
  "name",
  SCHEDULES.map(({ name, settings }) =>
    z.strictObject({ name: z.literal(name), ...settings })
  ) as unknown as RecordsOf<typeof SCHEDULES>,
);

type RecordsOf<Schedules extends readonly Schedule[]> = {
  [I in keyof Schedules]: z.ZodObject<
    & { readonly name: z.ZodLiteral<Schedules[I]["name"]> }
    & Schedules[I]["settings"],
    z.core.$strict
  >;
};

/** The schedule of this name, one of {@linkcode SCHEDULE_NAMES}. */
export function scheduleNamed(name: string): Schedule {
  const schedules: readonly Schedule[] = SCHEDULES;
  return schedules.find((schedule) => schedule.name === name)!;
}

/**
 * Trainings without adapters: of the classification head on a frozen encoder,
 * the lower bound, and of all weights, the upper one.
 */
export const BOUNDS = {
  head: { title: "Head only", trains: "head" },
  full: { title: "Full fine-tuning", trains: "all" },
} as const;

export type Bound = keyof typeof BOUNDS;

/** A model as it is, without an adapter: what embeddings are compared with. */
export const PRETRAINED = {
  name: "pretrained",
  title: "Model without an adapter",
} as const;

/**
 * How an adapter that was trained at one rank was made to serve the ranks
 * below.
 */
export const Reduction = z.enum(["truncation", "svd"]);

/**
 * Where a scored adapter or model comes from, as scores and reports record it.
 */
export const Provenance = z.strictObject({
  /** Schedule of its training, or what was trained without adapters. */
  trained: z.enum([
    ...SCHEDULE_NAMES,
    ...Object.keys(BOUNDS) as Bound[],
    PRETRAINED.name,
  ]),
  /** True if it was trained elsewhere, with unknown settings. */
  imported: z.boolean(),
  reducedBy: Reduction.nullable(),
  /** `fitted` if the last layer of the head was fitted again for each rank. */
  heads: z.enum(["trained", "fitted"]),
});

export type Provenance = z.output<typeof Provenance>;

/** What `training.json` says of where an adapter comes from. */
export interface ProvenanceRecord {
  readonly method: { readonly name: string; readonly sortAt?: number };
  readonly imported: boolean;
  /** Null if it was not reduced. */
  readonly reducedBy: z.output<typeof Reduction> | null;
  /** Undefined if all ranks have the trained head. */
  readonly heads?: unknown;
}

/** The provenance of an adapter. */
export function provenanceOf(
  { method, imported, reducedBy, heads }: ProvenanceRecord,
): Provenance {
  // DyLoRA that sorts after its last step has drawn no rank.
  const isSortedLora = method.sortAt === 1;
  return Provenance.parse({
    trained: isSortedLora ? fixed.name : method.name,
    imported,
    reducedBy: isSortedLora ? "svd" : reducedBy,
    heads: heads === undefined ? "trained" : "fitted",
  });
}

/** Of a model that was trained without adapters, or not at all. */
export function boundProvenance(
  bound: Bound | typeof PRETRAINED.name,
): Provenance {
  return { trained: bound, imported: false, reducedBy: null, heads: "trained" };
}

/**
 * Name of a provenance, with a part for each difference: `lora`,
 * `imported-lora-svd`, `lora-svd-heads`.
 */
export function methodName(
  { trained, imported, reducedBy, heads }: Provenance,
): string {
  return [
    ...imported ? ["imported"] : [],
    trained,
    ...reducedBy ? [{ truncation: "truncated", svd: "svd" }[reducedBy]] : [],
    ...heads === "fitted" ? ["heads"] : [],
  ].join("-");
}

/**
 * Title of a provenance: `LoRA by SVD, a head per rank`,
 * `LoRA with a fitted head`.
 */
export function provenanceTitle(
  { trained, imported, reducedBy, heads }: Provenance,
): string {
  const { title } = trained === PRETRAINED.name
    ? PRETRAINED
    : isBound(trained)
    ? BOUNDS[trained]
    : scheduleNamed(trained);
  const source = imported ? `Imported ${title}` : title;
  const reduced = reducedBy === "truncation"
    ? `Truncated ${imported ? `imported ${title}` : title}`
    : reducedBy === "svd"
    ? `${source} by SVD`
    : source;
  const fitted = reducedBy === null && trained === fixed.name
    ? " with a fitted head"
    : ", a head per rank";
  return heads === "fitted" ? `${reduced}${fitted}` : reduced;
}

/**
 * Role of a provenance in a comparison: all candidates are compared with the
 * baseline; a bound has no rank.
 */
export function roleOf(
  { trained, imported, reducedBy }: Provenance,
): "candidate" | "baseline" | "bound" {
  if (isBound(trained) || trained === PRETRAINED.name) return "bound";
  return imported || reducedBy ? "candidate" : scheduleNamed(trained).role;
}

function isBound(trained: Provenance["trained"]): trained is Bound {
  return Object.hasOwn(BOUNDS, trained);
}

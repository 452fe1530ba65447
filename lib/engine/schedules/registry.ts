import * as z from "zod";
import { dylora } from "./dylora.ts";
import { fixed } from "./fixed.ts";
import { matryoshka } from "./matryoshka.ts";
import type { Schedule } from "./schedule.ts";

/** Every schedule. */
const SCHEDULES = [dylora, fixed, matryoshka] as const;

/** The method of a training: the name of its schedule, with the schedule's settings. */
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

/**
 * The schedule of this name.
 *
 * @throws {TypeError} If there is none.
 */
export function scheduleNamed(name: string): Schedule {
  const known: readonly Schedule[] = SCHEDULES;
  const found = known.find((schedule) => schedule.name === name);
  if (found !== undefined) return found;
  throw new TypeError(
    `Unknown schedule "${name}"; expected one of ${
      known.map(({ name }) => `"${name}"`).join(", ")
    }`,
  );
}

/** Trainings without adapters: of the classification head on a frozen encoder, the lower bound, and of all weights, the upper one. */
export const BOUNDS = {
  head: { title: "Head only", trains: "head" },
  full: { title: "Full fine-tuning", trains: "all" },
} as const;

export type Bound = keyof typeof BOUNDS;

/** How an adapter that was trained at one rank was made to serve the ranks below. */
export const Reduction = z.enum(["truncation", "svd"]);

/** Where an adapter comes from. */
export interface Provenance {
  readonly method: { readonly name: string; readonly sortAt?: number };
  /** True if it was trained elsewhere, with unknown settings. */
  readonly imported: boolean;
  /** Null if it was not reduced. */
  readonly reducedBy: z.output<typeof Reduction> | null;
}

/** Name of a provenance in scores and reports: `lora`, `imported-lora-svd`, also of a LoRA that was sorted in its training. */
export function methodName(
  { method, imported, reducedBy }: Provenance,
): string {
  // DyLoRA that sorts after its last step has drawn no rank.
  const [name, by] = method.sortAt === 1
    ? [fixed.name, "svd"] as const
    : [method.name, reducedBy];
  return [
    ...imported ? ["imported"] : [],
    name,
    ...by ? [{ truncation: "truncated", svd: "svd" }[by]] : [],
  ].join("-");
}

/** What a report says of a method. */
export interface MethodTraits {
  readonly title: string;
  /** Role in a comparison: all candidates are compared with the baseline; a bound has no rank. */
  readonly role: "candidate" | "baseline" | "bound";
  readonly reducedBy: Provenance["reducedBy"];
  /** Name of the method whose adapter was reduced; its own if none was. */
  readonly source: string;
}

/** The traits of a method by its {@linkcode methodName}, or of a bound; an unknown one is a candidate whose title is its name. */
export function methodTraits(name: string): MethodTraits {
  const [, imported, source, reduced = ""] =
    /^(imported-)?(.+?)(-truncated|-svd)?$/.exec(name) ?? [];
  const method = SCHEDULES.find((it) => it.name === source);
  if (method === undefined) {
    const bound = Object.entries(BOUNDS).find(([bound]) => bound === name);
    return {
      title: bound?.[1].title ?? name,
      role: bound ? "bound" : "candidate",
      reducedBy: null,
      source: name,
    };
  }
  const { title, role } = method;
  const own = imported ? `Imported ${title}` : title;
  return {
    title: {
      "": own,
      "-truncated": `Truncated ${imported ? `imported ${title}` : title}`,
      "-svd": `${own} by SVD`,
    }[reduced]!,
    role: imported || reduced ? "candidate" : role,
    reducedBy: reduced === ""
      ? null
      : reduced === "-svd"
      ? "svd"
      : "truncation",
    source: name.slice(0, name.length - reduced.length),
  };
}

import { didYouMean } from "./suggest.ts";

/** An input as written: `train-lora[glue, *]`. */
export interface InputReference {
  readonly stage: string;
  /** Dimensions whose values must be those of the stage that asks. */
  readonly shared: readonly string[];
  /** True with `[*]`: the other dimensions take every value. */
  readonly all: boolean;
  /** False without brackets. */
  readonly bracketed: boolean;
}

/** A stage's place in its matrix, and its id. */
export interface Placed {
  readonly id: string;
  readonly place: Readonly<Record<string, string | number>>;
}

/** Reads a reference that has the form the schema asks for. */
export function parseInputReference(text: string): InputReference {
  const bracket = text.indexOf("[");
  if (bracket < 0) {
    return { stage: text, shared: [], all: false, bracketed: false };
  }
  const names = text.slice(bracket + 1, -1).split(",").map((it) => it.trim());
  return {
    stage: text.slice(0, bracket),
    shared: names.filter((it) => it !== "*"),
    all: names.includes("*"),
    bracketed: true,
  };
}

/** What is wrong with a reference, judged by the dimensions of both stages; undefined if nothing is. */
export function checkDimensions(
  reference: InputReference,
  many: boolean,
  own: readonly string[],
  theirs: readonly string[],
): string | undefined {
  const { stage, shared, all, bracketed } = reference;
  if (new Set(shared).size < shared.length) {
    return `"${stage}" is asked for the same dimension twice`;
  }
  for (const dimension of shared) {
    if (!theirs.includes(dimension)) {
      return `Stage "${stage}" has no dimension "${dimension}"` +
        didYouMean(dimension, theirs);
    }
    if (!own.includes(dimension)) {
      return `This stage has no dimension "${dimension}" to share with "${stage}"` +
        didYouMean(dimension, own);
    }
  }
  const open = theirs.filter((it) => !shared.includes(it));
  if (all && !many) {
    return `This input takes one artifact, but "*" takes any number of them`;
  }
  if (open.length > 0 && !all && !(many && bracketed)) {
    const names = theirs.filter((it) => own.includes(it));
    const remedy = many
      ? `"${stage}[${[...names, "*"].join(", ")}]"`
      : names.length === theirs.length
      ? `"${stage}[${names.join(", ")}]"`
      : undefined;
    return `Stage "${stage}" has a matrix over ${
      quoted(open)
    }, which this reference leaves open` +
      (remedy ? `; write ${remedy}` : "; this input takes one artifact");
  }
  return undefined;
}

/** The expanded stages of one name, looked up by the dimensions that a reference shares. */
export class Candidates<T extends Placed> {
  readonly #byShared = new Map<string, Map<string, readonly T[]>>();

  constructor(readonly stages: readonly T[]) {}

  /** Those that a reference names for a stage at `place`, in the order of their matrix. */
  find({ shared }: InputReference, place: Placed["place"]): readonly T[] {
    if (shared.length === 0) return this.stages;
    let index = this.#byShared.get(shared.join());
    if (index === undefined) {
      index = Map.groupBy(this.stages, (it) => valuesOf(it.place, shared));
      this.#byShared.set(shared.join(), index);
    }
    return index.get(valuesOf(place, shared)) ?? [];
  }
}

function valuesOf(place: Placed["place"], dimensions: readonly string[]) {
  return JSON.stringify(dimensions.map((it) => place[it] ?? null));
}

function quoted(names: readonly string[]): string {
  return names.map((it) => `"${it}"`).join(", ");
}

import { clip } from "./messages.ts";

/**
 * Shortens ids of stages to a width by dropping the parts that do not
 * distinguish them: first the matrix values that all stages of the same name
 * share, then the name, if all ids have the same. `train-lora@sst2,rank=1,seed=0`
 * becomes `train-lora…rank=1`, or `…rank=1`.
 *
 * @param all Ids of all stages, from which these must be distinguished.
 */
export function shortIds(
  ids: readonly string[],
  width: number,
  all: readonly string[],
): Map<string, string> {
  const parts = ids.map((id) => withoutShared(id, all, width));
  const names = new Set(parts.map(([name]) => name));
  const isTooLong = parts.some((it) => joined(it).length > width);
  const short = names.size === 1 && ids.length > 1 && isTooLong
    ? parts.map(([, ...values]) => joined(["", ...values]))
    : parts.map(joined);
  return new Map(ids.map((id, i) => [id, shortened(short, i, width)]));
}

/** The name and the values of an id; values that were dropped to fit the width are empty. */
function withoutShared(
  id: string,
  all: readonly string[],
  width: number,
): string[] {
  const parts = partsOf(id);
  if (id.length <= width) return parts;
  const others = all.map(partsOf).filter(([name]) => name === parts[0]);
  for (let i = 1; i < parts.length; i++) {
    if (joined(parts).length <= width) break;
    if (others.every((it) => it.includes(parts[i]!))) parts[i] = "";
  }
  return parts;
}

/** `train@sst2,rank=1` as `train`, `@sst2` and `,rank=1`. */
function partsOf(id: string): string[] {
  return id.split(/(?=[@,])/);
}

/** The parts as a text, with `…` for dropped parts that are followed by others. */
function joined(parts: readonly string[]): string {
  return parts.reduce(
    (text, part, i) =>
      part === ""
        ? text
        : i > 0 && parts[i - 1] === ""
        ? `${text}…${part.slice(1)}`
        : text + part,
    "",
  );
}

/** A name without the characters that all names begin with, if it is still too long. */
function shortened(
  names: readonly string[],
  index: number,
  width: number,
): string {
  const name = names[index]!;
  if (name.length <= width) return name;
  const others = names.filter((it) => it !== name);
  let same = 0;
  if (others.length > 0) {
    while (others.every((it) => it[same] === name[same])) same++;
  }
  return clip(same > 1 ? `…${name.slice(same)}` : name, width);
}

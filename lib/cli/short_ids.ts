import { clip } from "./messages.ts";

/**
 * Shortens ids of stages to a width. They lose what they have in common, the
 * matrix values first and then the name, and keep what tells them apart:
 * `train-lora@sst2,rank=1,seed=0` and `train-lora@sst2,rank=2,seed=0` become
 * `train-lora…rank=1` and `train-lora…rank=2`.
 */
export function shortIds(
  ids: readonly string[],
  width: number,
): Map<string, string> {
  const parts = ids.map((id) => id.split(/(?=[@,])/));
  const isShared = (part: string) => parts.every((it) => it.includes(part));
  const [first = []] = parts;
  // With a single id, nothing is there to be told apart.
  const shared = ids.length > 1 ? first.filter(isShared) : [];
  const dropped = new Set<string>();
  for (const part of [...shared.filter(isValue), ...shared.filter(isName)]) {
    if (Math.max(...parts.map((it) => without(it, dropped).length)) <= width) {
      break;
    }
    dropped.add(part);
  }
  const names = parts.map((it) => without(it, dropped));
  return new Map(ids.map((id, i) => [id, shortened(names, i, width)]));
}

function isName(part: string): boolean {
  return !isValue(part);
}

function isValue(part: string): boolean {
  return /^[@,]/.test(part);
}

/** An id without some of its parts, with `…` before what comes after them. */
function without(
  parts: readonly string[],
  dropped: ReadonlySet<string>,
): string {
  let text = "";
  let isCut = false;
  for (const part of parts) {
    if (dropped.has(part)) isCut = true;
    else {
      text += isCut ? `…${part.replace(/^[@,]/, "")}` : part;
      isCut = false;
    }
  }
  return text;
}

/** A name that is still too long, without the characters at which all names begin. */
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

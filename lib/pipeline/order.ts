/** Stage names with those that each needs. */
export type Needs = ReadonlyMap<string, ReadonlySet<string>>;

/** Names so that each follows those it needs, and the cycles that stand in the way. */
export interface Order {
  readonly names: readonly string[];
  /** `[a, b]` if `a` needs `b` and `b` needs `a`. */
  readonly cycles: readonly (readonly string[])[];
}

/** Orders names topologically; names that are free to stand anywhere keep their order. */
export function orderNames(needs: Needs): Order {
  const waiting = new Map<string, number>();
  const neededBy = new Map<string, string[]>();
  for (const [name, needed] of needs) {
    waiting.set(name, needed.size);
    for (const it of needed) {
      const dependents = neededBy.get(it);
      if (dependents) dependents.push(name);
      else neededBy.set(it, [name]);
    }
  }
  const names = [...needs.keys()].filter((it) => waiting.get(it) === 0);
  for (const name of names) {
    for (const dependent of neededBy.get(name) ?? []) {
      const left = waiting.get(dependent)! - 1;
      waiting.set(dependent, left);
      if (left === 0) names.push(dependent);
    }
  }
  return { names, cycles: findCycles(needs, new Set(names)) };
}

/** Follows needs among the names that could not be ordered until one comes again. */
function findCycles(needs: Needs, done: Set<string>): string[][] {
  const cycles: string[][] = [];
  for (const start of needs.keys()) {
    const walk: string[] = [];
    let name: string | undefined = start;
    while (name !== undefined && !done.has(name)) {
      done.add(name);
      walk.push(name);
      const next: string | undefined = [...needs.get(name)!].find((it) =>
        walk.includes(it) || !done.has(it)
      );
      if (next !== undefined && walk.includes(next)) {
        cycles.push(walk.slice(walk.indexOf(next)));
        break;
      }
      name = next;
    }
  }
  return cycles;
}

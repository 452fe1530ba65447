import type { FaultList } from "./fault.ts";
import type { Shown } from "./graph.ts";
import type { PlacedStage } from "./expand.ts";
import { didYouMean } from "./suggest.ts";
import type { Tree } from "./tree.ts";

/**
 * The files that `show` names: `report/report.md`, or of one stage of a
 * matrix `report@mrpc/report.md`; a name alone shows all stages of that name.
 *
 * @param stages The places of each stage's matrix, as far as they are known.
 */
export function readShown(
  tree: Tree,
  names: ReadonlySet<string>,
  stages: ReadonlyMap<string, readonly PlacedStage[]>,
  faults: FaultList,
): Shown[] {
  const shown: Shown[] = [];
  const show = tree.children?.get("show");
  const items = show?.children?.values() ?? (show ? [show] : []);
  for (const { value: text, span } of items) {
    if (typeof text !== "string" || !text.includes("/")) continue;
    const slash = text.indexOf("/");
    const wanted = text.slice(0, slash);
    const file = text.slice(slash + 1);
    if (file.split("/").some((it) => ["", ".", ".."].includes(it))) {
      faults.add(`"${file}" must be a path inside the stage's artifact`, span);
    }
    const name = wanted.replace(/@.*/, "");
    const placed = stages.get(name) ?? [];
    const ids = placed.map(({ id }) => id)
      .filter((id) => wanted === name || wanted === id);
    if (!names.has(name)) {
      faults.add(`Unknown stage "${name}"${didYouMean(name, names)}`, span);
    } else if (ids.length === 0 && stages.has(name)) {
      const known = placed.map(({ id }) => id);
      faults.add(`Unknown stage "${wanted}"${didYouMean(wanted, known)}`, span);
    }
    shown.push(...ids.map((stage) => ({ stage, file })));
  }
  return shown;
}

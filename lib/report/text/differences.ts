import type { Comparison, Contrast, MethodSummary } from "../report.ts";
import { type Column, table } from "./table.ts";
import { intervalText, signed, titleOf } from "./words.ts";

/** How much better or worse candidates are than each baseline, rank by rank: one table for each baseline. */
export function differencesText(
  { methods, metrics, contrasts }: Comparison,
): string[] {
  const parts = [...Map.groupBy(contrasts, ({ baseline }) => baseline)]
    .flatMap(([place, found]) => {
      const shared = found.filter(({ ranks }) => ranks.length > 0);
      if (shared.length === 0) return [];
      const title = titleOf(methods[place]!);
      return [
        `${metrics[0]} less that of ${title} at the same rank, ${
          pairingText(methods, shared)
        }:`,
        differenceTable(
          shared,
          ({ candidate }) => titleOf(methods[candidate]!),
        ),
      ];
    });
  return parts.length === 0 ? [] : ["### Differences", ...parts];
}

/** Replicates share examples always, and seeds where both methods have the same. */
function pairingText(
  methods: readonly MethodSummary[],
  contrasts: readonly Contrast[],
): string {
  const seedsAt = (place: number, rank: number) =>
    methods[place]!.ranks.find((other) => other.rank === rank)!.seeds.join();
  const unpaired = contrasts.filter(({ candidate, baseline, ranks }) =>
    ranks.some(({ rank }) =>
      seedsAt(candidate, rank) !== seedsAt(baseline, rank)
    )
  );
  if (unpaired.length === 0) return "paired by example and seed";
  const others = unpaired.length === contrasts.length
    ? ""
    : `, and by seed but for ${
      unpaired.map(({ candidate }) => titleOf(methods[candidate]!)).join(", ")
    }`;
  return `paired by example${others} (other seeds were trained on either side)`;
}

/** A row for each rank, a column for each candidate. */
export function differenceTable<
  T extends Pick<Contrast, "ranks"> & Partial<Pick<Contrast, "area">>,
>(
  contrasts: readonly T[],
  title: (contrast: T) => string,
): string {
  const ranks = new Set(
    contrasts.flatMap(({ ranks }) => ranks.map(({ rank }) => rank)),
  );
  const rows: (number | "all")[] = [...ranks].sort((a, b) => a - b);
  if (contrasts.some(({ area }) => area)) rows.push("all");
  const columns = contrasts.map((contrast): Column<number | "all"> => ({
    title: title(contrast),
    cell: (row) => {
      const found = row === "all"
        ? contrast.area
        : contrast.ranks.find(({ rank }) => rank === row);
      return found
        ? signed(found.difference) + intervalText(found.interval, signed)
        : "";
    },
  }));
  return table(
    "Rank",
    rows,
    (row) => row === "all" ? "mean over these" : String(row),
    columns,
  );
}

import type { Comparison, MethodSummary } from "../report.ts";
import { table } from "./table.ts";
import {
  exactPercent,
  intervalText,
  percent,
  rankList,
  titleOf,
} from "./words.ts";

/** The score over all ranks of each method, and the rank to take of each candidate, with the evidence. */
export function recommendationText({ methods, metrics }: Comparison): string[] {
  const curves = methods.filter(({ role, ranks }) =>
    role !== "bound" && ranks.length > 1
  );
  if (curves.length === 0) return [];
  return [
    "### Rank to take",
    ...curves.flatMap(sentence),
    table("Over all ranks", curves, titleOf, [
      { title: "Ranks", cell: ({ ranks }) => rankList(rankNumbers(ranks)) },
      {
        title: `Mean ${metrics[0]} (area under the curve)`,
        cell: ({ area }) => percent(area.value) + intervalText(area.interval),
      },
      {
        title: "Elbow",
        cell: ({ elbow }) => elbow === null ? "none" : `rank ${elbow}`,
      },
    ]),
    ...curves.flatMap(evidence),
  ];
}

function sentence(method: MethodSummary): string[] {
  const { recommendation, role } = method;
  if (role !== "candidate" || recommendation === null) return [];
  const { rank, best, margin, confidence } = recommendation;
  return [
    `**Recommended rank of ${
      titleOf(method)
    }: ${rank}**, the smallest that is not worse than the best one (${best}) by more than ${
      exactPercent(margin)
    } points, at ${exactPercent(confidence)} % confidence.`,
  ];
}

function evidence(method: MethodSummary): string[] {
  const { recommendation, role } = method;
  if (role !== "candidate" || recommendation === null) return [];
  return [
    table(
      titleOf(method),
      recommendation.evidence,
      ({ rank }) => `rank ${rank}`,
      [
        { title: "Below the best", cell: ({ loss }) => percent(loss) },
        { title: "At most", cell: ({ bound }) => percent(bound) },
        {
          title: "Enough",
          cell: ({ sufficient }) => sufficient ? "yes" : "no",
        },
      ],
    ),
  ];
}

function rankNumbers(ranks: readonly { readonly rank: number }[]): number[] {
  return ranks.map(({ rank }) => rank);
}

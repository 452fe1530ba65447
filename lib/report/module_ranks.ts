import {
  percent,
  plain,
  signed,
  table,
  titleOf,
  withInterval,
} from "./format.ts";
import type { Comparison, ModuleRanks } from "./report.ts";
import { mean } from "./statistics.ts";
import {
  type CompareOptions,
  definedOf,
  type MethodResults,
  pairedInterval,
} from "./summarize.ts";

/** What a method scores with a rank for each module, against the largest single rank with no more values. */
export function moduleRanksOf(
  methods: readonly MethodResults[],
  { confidence }: CompareOptions,
): ModuleRanks[] {
  return methods.flatMap(
    ({ byModule, ranks, scores, means, results }, method) => {
      if (byModule === undefined) return [];
      const found = byModule.results;
      const parameters = mean(found.map((it) => it.parameters));
      const perRank = results[0]!.size!.perRank;
      const place = Math.max(
        0,
        ranks.findLastIndex((rank) => rank * perRank <= parameters),
      );
      const rank = ranks[place]!;
      return [{
        method,
        seeds: [...byModule.seeds],
        modules: [...found[0]!.modules.keys()].map((module) => ({
          module,
          ranks: found.map(({ modules }) => modules.get(module)!),
        })),
        parameters,
        score: definedOf(byModule.score),
        uniform: {
          rank,
          parameters: rank * perRank,
          score: definedOf(scores[place]!),
        },
        difference: definedOf(byModule.score - scores[place]!),
        interval: pairedInterval(byModule.means, means[place]!, confidence),
      }];
    },
  );
}

/** Markdown: the ranks of each module, and their scores beside those of one rank for all. */
export function moduleRanksText(
  { moduleRanks, methods, metrics }: Comparison,
): string[] {
  if (moduleRanks.length === 0) return [];
  const modules = new Set(
    moduleRanks.flatMap(({ modules }) => modules.map(({ module }) => module)),
  );
  const titles = moduleRanks.map(({ method }) => titleOf(methods[method]!));
  return [
    "### A rank for each module",
    `**${
      metrics[0]
    }** at the ranks below, compared with the largest single rank that has no more values in lora_A and lora_B (the smallest, if all have more):`,
    table(
      ["Method", "By module", "Values", "Single rank", "Values", "Difference"],
      moduleRanks.map((it, i) => [
        titles[i]!,
        percent(it.score),
        String(Math.round(it.parameters)),
        `${percent(it.uniform.score)} at rank ${it.uniform.rank}`,
        String(it.uniform.parameters),
        withInterval(it.difference, it.interval, signed),
      ]),
    ),
    moduleRanks.some(({ seeds }) => seeds.length > 1)
      ? "Ranks, one per seed:"
      : "Ranks:",
    table(
      ["Module", ...titles],
      [...modules].map((name) => [
        plain(name),
        ...moduleRanks.map(({ modules }) =>
          modules.find(({ module }) => module === name)?.ranks.join(", ") ?? ""
        ),
      ]),
    ),
  ];
}

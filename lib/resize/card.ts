import { plain, significant, table } from "../report/format.ts";
import type { Adapter } from "./adapter.ts";
import { energyOf, type Spectrum } from "./choose.ts";
import { factorBytes, type Ranks } from "./rewrite.ts";

/** What has become of a module, or of all of them together. */
export interface Change {
  /** Name of the module, or "all". */
  readonly name: string;
  /** Rank in the source; of all modules, the largest. */
  readonly rankBefore: number;
  /** Rank that is kept; of all modules, the largest. */
  readonly rank: number;
  /**
   * Share of the sum of squared singular values that is kept; 1 for an update
   * of zero.
   */
  readonly energy: number;
  /** Norm of what is lost, relative to that of the update. */
  readonly error: number;
  /** Bytes of the factors. */
  readonly bytes: number;
}

/** What has become of each module, and of all of them together. */
export interface Changes {
  readonly modules: readonly Change[];
  readonly total: Change;
}

/** An adapter at other ranks. */
export interface Resized extends Changes {
  /** Name of its folder below the output. */
  readonly folder: string;
  /** Size of the safetensors file. */
  readonly fileBytes: number;
}

/** What has become of each module, and of all of them together. */
export function changesOf(
  spectra: readonly Spectrum[],
  ranks: Ranks,
  dtype: string | undefined,
): Changes {
  const change = (kept: number, lost: number) => ({
    energy: kept + lost === 0 ? 1 : kept / (kept + lost),
    error: kept + lost === 0 ? 0 : Math.sqrt(lost / (kept + lost)),
  });
  const sums = { kept: 0, lost: 0, bytes: 0 };
  const modules = spectra.map(({ module, values }) => {
    const rank = ranks.get(module.name)!;
    const kept = energyOf(values.subarray(0, rank));
    const lost = energyOf(values.subarray(rank));
    const bytes = factorBytes(module, rank, dtype);
    sums.kept += kept;
    sums.lost += lost;
    sums.bytes += bytes;
    return {
      name: module.name,
      rankBefore: module.rank,
      rank,
      ...change(kept, lost),
      bytes,
    };
  });
  const total = {
    name: "all",
    rankBefore: Math.max(...modules.map(({ rankBefore }) => rankBefore)),
    rank: Math.max(...modules.map(({ rank }) => rank)),
    ...change(sums.kept, sums.lost),
    bytes: sums.bytes,
  };
  return { modules, total };
}

/**
 * A table of the sum of the changes of all modules, and of each, in Markdown.
 *
 * @param isWhole False for the sum alone
 */
export function changesTable(
  { modules, total }: Resized,
  isWhole = true,
): string {
  return table(
    ["Module", "rank", "energy kept", "relative error", "size"],
    [total, ...isWhole ? modules : []].map((row) => [
      row === total ? "**all**" : plain(row.name),
      row === total ? rankText(modules) : rankText([row]),
      percent(row.energy),
      significant(row.error),
      megabytes(row.bytes),
    ]),
  );
}

/** What the numbers do not say. */
export const CAUTION =
  "Energy is not quality: it is the share of the squared singular values of the update that is kept, whatever the model does with it.";

/** Heading of the part of a model card that is about the resizing. */
const HEADING = "## Resized";

/**
 * The model card of a resized adapter: that of its source, if it has one, and
 * what has become of each module.
 */
export function modelCard(
  card: string | undefined,
  { adapter, resized, title }: {
    readonly adapter: Adapter;
    readonly resized: Resized;
    /** Name of the source, or the weighted sum. */
    readonly title: string;
  },
): string {
  const { total } = resized;
  const energy = percent(total.energy);
  const error = significant(total.error);
  const size = megabytes(total.bytes);
  const above = card === undefined
    ? ""
    : " What is said above is about the adapter before.";
  const name = `${plain(title)}, rank ${rankText(resized.modules)}`;
  const before =
    card?.replace(new RegExp(`\n${HEADING}\n[^]*`), "").trimEnd() ??
      `---\n${frontMatter(adapter)}---\n\n# ${name}`;
  return [
    before,
    HEADING,
    `This is ${name}, by the singular value decomposition of the update of each module: ${energy} of the energy is kept, the relative error is ${error}, and the factors take ${size}. ${CAUTION}${above}`,
    "![Singular values of all modules: median, half of them, all of them; and the median rank kept](singular-values.svg)",
    changesTable(resized),
  ].join("\n\n") + "\n";
}

function frontMatter({ format, configs: [config] }: Adapter): string {
  const base = config?.checked.base_model_name_or_path;
  return [
    ...(format === "PEFT" ? ["library_name: peft"] : []),
    ...(base ? [`base_model: ${JSON.stringify(base)}`] : []),
    "tags: [lora]",
    "",
  ].join("\n");
}

/** `64 to 8`, `16-64 to 2-17`. */
function rankText(
  changes: readonly { readonly rankBefore: number; readonly rank: number }[],
): string {
  const before = rankRange(changes.map(({ rankBefore }) => rankBefore));
  return `${before} to ${rankRange(changes.map(({ rank }) => rank))}`;
}

/** `8`, or `4-64`. */
export function rankRange(ranks: readonly number[]): string {
  const least = Math.min(...ranks);
  const most = Math.max(...ranks);
  return least === most ? `${most}` : `${least}-${most}`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

function megabytes(bytes: number): string {
  return `${significant(bytes / 1e6)} MB`;
}

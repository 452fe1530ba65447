import * as z from "zod";
import { count, jsonFile } from "./json_file.ts";

/** Files of an artifact of kind `ranks`. */
export const RANKS_FILES = ["ranks.json"] as const;

/** Rank of each module. */
export type ModuleRanks = ReadonlyMap<string, number>;

/** Ranks by the name of the module, as the suffix that PEFT matches: `layer.0.attention.self.query`. */
export const RanksByModule = z.record(
  z.string().regex(/^[\w-]+(\.[\w-]+)+$/),
  count,
);

/** `ranks.json`: a rank for each module of an adapter. */
const RanksInfo = z.strictObject({
  /** Task whose adapters may be cut to the ranks. */
  task: z.string().min(1),
  modules: RanksByModule,
  /** Intrinsic dimension of the hidden states of the embeddings and of each layer, if the ranks were estimated from these. */
  dimensions: z.array(z.number()).optional(),
});

/** Content of an artifact of kind `ranks`. */
type RanksFile = Omit<z.output<typeof RanksInfo>, "modules"> & {
  readonly modules: ModuleRanks;
};

const ranksFile = jsonFile("ranks.json", RanksInfo);

/** Writes an artifact of kind `ranks`. */
export async function writeRanks(
  folder: string,
  { modules, ...rest }: RanksFile,
): Promise<void> {
  const info = { ...rest, modules: Object.fromEntries(modules) };
  await ranksFile.write(folder, info);
}

/** Reads an artifact of kind `ranks`. */
export async function readRanks(folder: string): Promise<RanksFile> {
  const { modules, ...rest } = await ranksFile.read(folder);
  return { ...rest, modules: new Map(Object.entries(modules)) };
}

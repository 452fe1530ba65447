import { z } from "zod";
import { epoch } from "../training/settings.ts";

/** Parameters that say at which rank an adapter is taken. */
export const rankToTake = {
  rank: z.union([z.int().min(1), z.literal("recommended")]).optional().describe(
    'Rank to take; "recommended" is that of the report connected as input; by default the adapter\'s own',
  ),
  variant: z.string().min(1).optional().describe(
    "Where the report has several variants of the method, that of the adapter, such as mode=all; with rank: recommended only",
  ),
  split: z.string().regex(/^[a-z_]+$/).optional().describe(
    "Where the report recommends different ranks by different splits, the one to go by, such as validation_matched; with rank: recommended only",
  ),
  epoch,
};

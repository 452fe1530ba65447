import { z } from "zod";

/** Precision in which matrix products were computed: what `auto` came to. */
export const UsedPrecision = z.enum(["f32", "bf16"]);

/**
 * Heads of sentence encoders: an embedding of a sequence is pooled of its
 * tokens, and nothing is trained.
 */
import * as z from "zod";
import { parseJson } from "../../data/text_file.ts";
import type { Head, Model } from "./model.ts";

/**
 * How the tokens of a sequence become one vector, as sentence-transformers
 * calls it.
 */
export type PoolingMode = "mean" | "cls" | "lasttoken";

/** What follows the encoder of a sentence encoder. */
export interface Pooling {
  readonly mode: PoolingMode;
  /** Whether embeddings are divided by their norm. */
  readonly normalizes: boolean;
}

/** Modules of sentence-transformers by the last part of their `type`. */
const Modules = z.array(
  z.looseObject({ path: z.string(), type: z.string() }),
);

/** `1_Pooling/config.json`, with the mode by name, or with a field for each. */
const PoolingConfig = z.looseObject({
  pooling_mode: z.union([z.string(), z.array(z.string())]).optional(),
  pooling_mode_cls_token: z.boolean().optional(),
  pooling_mode_mean_tokens: z.boolean().optional(),
  pooling_mode_max_tokens: z.boolean().optional(),
  pooling_mode_mean_sqrt_len_tokens: z.boolean().optional(),
  pooling_mode_weightedmean_tokens: z.boolean().optional(),
  pooling_mode_lasttoken: z.boolean().optional(),
});

const MODES: readonly string[] = ["mean", "cls", "lasttoken"];

/** Folder of the pooling below a model, as sentence-transformers writes it. */
const POOLING_FOLDER = "1_Pooling";

/** Files of a model's folder that say how embeddings are made of its tokens. */
export const POOLING_FILES = [
  "modules.json",
  `${POOLING_FOLDER}/config.json`,
] as const;

/**
 * What a model without {@linkcode POOLING_FILES} gets, as in
 * sentence-transformers.
 */
export const DEFAULT_POOLING: Pooling = { mode: "mean", normalizes: false };

/**
 * Reads what a model's folder says about its embeddings.
 *
 * @param modules Text of its `modules.json`
 * @param config Text of the configuration of its pooling,
 * `1_Pooling/config.json`
 * @throws {SyntaxError} If a module or a mode is not supported
 */
export function parsePooling(modules: string, config: string): Pooling {
  const list = Modules.safeParse(parseJson(modules, "modules.json"));
  if (!list.success) {
    throw new SyntaxError(
      '"modules.json" is no list of modules with "path" and "type", as sentence-transformers writes it',
    );
  }
  const names = list.data.map(({ type }) => type.split(".").at(-1)!);
  const order = names.join(", ");
  if (
    order !== "Transformer, Pooling" &&
    order !== "Transformer, Pooling, Normalize"
  ) {
    throw new SyntaxError(
      `"modules.json" has the modules ${order}; supported are Transformer, Pooling and, at the end, Normalize`,
    );
  }
  const folder = list.data[1]!.path;
  if (folder !== POOLING_FOLDER) {
    throw new SyntaxError(
      `"modules.json" has its pooling in the folder "${folder}"; supported is "${POOLING_FOLDER}", where sentence-transformers writes it`,
    );
  }
  const path = `${folder}/config.json`;
  const parsed = PoolingConfig.safeParse(parseJson(config, path));
  if (!parsed.success) {
    throw new SyntaxError(`"${path}" is no configuration of a pooling`);
  }
  const modes = poolingModes(parsed.data);
  const [mode] = modes;
  if (modes.length !== 1 || !MODES.includes(mode!)) {
    throw new SyntaxError(
      `"${path}" has the pooling ${
        modes.join(" and ") || "none"
      }; supported is one of mean, cls and lasttoken`,
    );
  }
  return {
    mode: mode as PoolingMode,
    normalizes: names.includes("Normalize"),
  };
}

/** The modes of a configuration, of which several are put side by side. */
function poolingModes(config: z.output<typeof PoolingConfig>): string[] {
  if (config.pooling_mode !== undefined) return [config.pooling_mode].flat();
  const flags = {
    cls: config.pooling_mode_cls_token,
    max: config.pooling_mode_max_tokens,
    mean: config.pooling_mode_mean_tokens,
    mean_sqrt_len_tokens: config.pooling_mode_mean_sqrt_len_tokens,
    weightedmean: config.pooling_mode_weightedmean_tokens,
    lasttoken: config.pooling_mode_lasttoken,
  };
  return Object.entries(flags)
    .flatMap(([mode, isOn]) => isOn === true ? [mode] : []);
}

/**
 * The model with embeddings of sequences as outputs, `[sequences, hidden]`,
 * before they are normalized. Its outputs are as many as its hidden values.
 */
export function withPooling(model: Model, mode: PoolingMode): Model {
  return {
    ...model,
    head: "embedding",
    heads: { ...model.heads, embedding: POOLING_HEADS[mode] },
  };
}

/**
 * The model with the hidden states of all tokens as outputs,
 * `[sequences * tokens, hidden]`, which other programs pool.
 */
export function withHiddenStates(model: Model): Model {
  const embedding: Head = { logits: (_, x) => x };
  return {
    ...model,
    head: "embedding",
    heads: { ...model.heads, embedding },
  };
}

/** Heads without tensors. */
const POOLING_HEADS: Readonly<Record<PoolingMode, Head>> = {
  mean: { logits: (m, x) => m.mean(x) },
  cls: { read: (m, x) => m.first(x), logits: (_, first) => first },
  lasttoken: {
    read: (m, x) => m.last(x, undefined),
    logits: (_, last) => last,
  },
};

import { join } from "@std/path/posix/join";
import { POOLING_FILES } from "../engine/models/pooling.ts";
import { dirname } from "../files/paths.ts";
import { writeJsonFile } from "./json_file.ts";
import { readModel, readPooling } from "./model.ts";

/**
 * File with the number of tokens to which sentence-transformers truncates
 * texts.
 */
const LENGTH_FILE = "sentence_bert_config.json";

/**
 * `modules.json` of a model that has none, for all versions of
 * sentence-transformers.
 */
const DEFAULT_MODULES = [
  {
    idx: 0,
    name: "0",
    path: "",
    type: "sentence_transformers.models.Transformer",
  },
  {
    idx: 1,
    name: "1",
    path: dirname(POOLING_FILES[1]),
    type: "sentence_transformers.models.Pooling",
  },
];

/**
 * Writes to a folder with an encoder, or with an adapter on it, what
 * sentence-transformers reads besides weights and tokenizer: its modules, the
 * pooling, and the length of texts.
 *
 * @param from Folder of the model, whose files are copied if it has them
 * @param maxLength Tokens to which the texts of the training were truncated;
 * null for those that the model takes
 */
export async function writeSentenceModules(
  from: string,
  to: string,
  maxLength: number | null,
): Promise<void> {
  const model = readModel(from);
  const { isDefault } = readPooling(from);
  const [modules, pooling] = POOLING_FILES;
  await Deno.mkdir(join(to, dirname(pooling)), { recursive: true });
  if (isDefault) {
    await writeJsonFile(join(to, modules), DEFAULT_MODULES);
    await writeJsonFile(join(to, pooling), {
      word_embedding_dimension: model.hidden,
      pooling_mode_cls_token: false,
      pooling_mode_mean_tokens: true,
      pooling_mode_max_tokens: false,
      pooling_mode_mean_sqrt_len_tokens: false,
    });
  } else {
    for (const file of POOLING_FILES) {
      await Deno.copyFile(join(from, file), join(to, file));
    }
  }
  await writeJsonFile(join(to, LENGTH_FILE), {
    max_seq_length: maxLength ?? model.maxLength,
    do_lower_case: false,
  });
}

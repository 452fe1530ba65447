import { join } from "node:path";
import { FOLDER, FOLDER_NOTE } from "../../peft/python.ts";
import { statIfThere } from "../../files/files.ts";
import {
  type Arguments,
  command,
  invalidValue,
  UsageError,
} from "../arguments/arguments.ts";
import { JSON_LINES, KEY_OPTIONS } from "../arguments/options.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { bytes, count } from "../terminal/messages.ts";
import { writeLine } from "../terminal/renderer.ts";
import { adapterConfig, adapterFolder, adapterStage } from "./stage_result.ts";

export const pushCommand = command`
  push [PIPELINE STAGE] --to OWNER/NAME

  Upload an exported adapter to the Hugging Face hub, with its tokenizer and its model card.

  STAGE is a stage of the task export-adapter that has run, such as take-away. Instead of PIPELINE and STAGE, --adapter names the folder of an exported adapter. The access token is read from HF_TOKEN.

  Exit codes: 0 success, 1 failure, 2 invalid arguments or pipeline file, 129, 130 or 143 interrupted.

  Options:
  --to OWNER/NAME  Repository to upload to; it is created if it does not exist
  --base-model OWNER/NAME  Base model on the hub; required if it was fetched from a package or a folder
  --private  Make a new repository private
  --adapter DIR  Folder of an exported adapter
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  own-data take-away --to me/my-adapter  Upload the adapter at the recommended rank
  --adapter out/own-data/take-away@seed=0 --to me/my-adapter --base-model me/my-model  Upload a folder, for a base model that was fetched from one
`(async (args) => {
  const repository = hubName(args, "to");
  if (repository === undefined) {
    throw new UsageError('Missing option "--to": give OWNER/NAME');
  }
  const baseModel = hubName(args, "base-model");
  using opened = new DisposableStack();
  let folder = adapterFolder(args);
  const [pipeline] = args.positionals;
  if (folder === undefined) {
    const { open } = await adapterStage(args, ["peft"]);
    folder = opened.use(await open()).inputs.adapter!;
  } else if (pipeline !== undefined) {
    throw new UsageError(
      `Unexpected argument "${pipeline}" with option "--adapter"`,
    );
  }
  const files = await adapterFiles(folder, repository, baseModel);
  const [{ pushFiles }, { hubSettings }] = await Promise.all([
    import("../../hub/push_files.ts"),
    import("../../hub/settings.ts"),
  ]);
  const size = [...files.values()].reduce((sum, file) => sum + file.size, 0);
  const what = `${count(files.size, "file")}, ${bytes(size)}`;
  const upload = {
    repository,
    files,
    isPrivate: args.has("private"),
    title: "Upload adapter",
    onUpload: () => console.error(`Uploading ${what}, to ${repository}`),
  };
  return await interruptible(async (signal) => {
    const pushed = await pushFiles(upload, hubSettings(), signal);
    writeLine(args, { type: "pushed", ...pushed }, pushed.url);
  });
});

const REQUIRED = [
  "adapter_config.json",
  "adapter_model.safetensors",
  "README.md",
];
const HUB_NAME = /^[\w][\w.-]*\/[\w][\w.-]*$/;

function hubName(args: Arguments, option: string): string | undefined {
  const name = args.value(option);
  if (name === undefined || HUB_NAME.test(name)) return name;
  throw invalidValue(option, name, "expected OWNER/NAME");
}

/**
 * The files of an exported adapter for the hub: the model card names the
 * repository instead of the folder, and the configuration names the base model
 * on the hub.
 *
 * @throws {UsageError} If the folder is not a whole exported adapter, the
 * target of a link is missing, or the base model is not on the hub.
 */
async function adapterFiles(
  folder: string,
  repository: string,
  baseModel: string | undefined,
): Promise<Map<string, Blob>> {
  if (!statIfThere(folder)?.isDirectory) {
    throw new UsageError(
      `"${folder}" is not a folder: give the output of a stage of the task export-adapter`,
    );
  }
  // Which may be links to files, as caches of datasets and models make them.
  const names = [...Deno.readDirSync(folder)].flatMap(({ name }) => {
    const path = join(folder, name);
    const info = statIfThere(path);
    if (info !== undefined) return info.isFile ? name : [];
    throw new UsageError(
      `"${path}" is a link to a file that is missing: fetch the file, or remove the link`,
    );
  });
  const missing = REQUIRED.find((name) => !names.includes(name));
  if (missing !== undefined) {
    throw new UsageError(
      `"${folder}" has no file "${missing}": give the output of a stage of the task export-adapter`,
    );
  }
  const config = await adapterConfig(folder);
  const base = baseModel ?? config.base_model_name_or_path;
  if (!HUB_NAME.test(base ?? "")) {
    const named = JSON.stringify(base);
    throw new UsageError(
      `The base model ${named} is not a repository of the hub: name one with --base-model OWNER/NAME`,
    );
  }
  const changed = baseModel === undefined
    ? config
    : { ...config, base_model_name_or_path: baseModel, revision: null };
  const card = Deno.readTextFileSync(join(folder, "README.md"))
    .replace(/^base_model: .*$/m, () => `base_model: ${base}`)
    .replaceAll(`"${FOLDER}"`, JSON.stringify(repository))
    .replace(`\n${FOLDER_NOTE}\n`, "");
  const contents = {
    "adapter_config.json": `${JSON.stringify(changed, null, 2)}\n`,
    "README.md": card,
  };
  return new Map(
    names.map((name) => {
      const content = contents[name as keyof typeof contents];
      return [
        name,
        new Blob([content ?? Deno.readFileSync(join(folder, name))]),
      ];
    }),
  );
}

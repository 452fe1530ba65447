import { join, resolve } from "node:path";
import { printable } from "../../pipeline/faults.ts";
import type { Resized } from "../../resize/card.ts";
import type { RankTarget } from "../../resize/choose.ts";
import {
  type Arguments,
  asTyped,
  command,
  invalidValue,
  UsageError,
} from "../arguments/arguments.ts";
import { createFolder, JSON_LINES, sizeOf } from "../arguments/options.ts";
import { progressLine } from "../terminal/estimate.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { bytes } from "../terminal/messages.ts";
import { writeLine, writeOut } from "../terminal/renderer.ts";
import { terminalMarkdown } from "../terminal/terminal_markdown.ts";

export const resizeCommand = command`
  resize ADAPTER

  Write a LoRA of any model at a lower rank: the best approximation of each module's update, from its singular value decomposition, without the model.

  ADAPTER is a folder of PEFT, a safetensors file of kohya, LyCORIS or diffusers, or OWNER/NAME, OWNER/NAME@REVISION or OWNER/NAME/FILE.safetensors of the Hugging Face hub. The result has the same format. Energy is the sum of squared singular values.

  Options:
  --rank N  Rank of all modules
  --ranks LIST  Several ranks, such as 1,2,4, in a folder each
  --energy SHARE  Smallest ranks by module that keep this share of the energy of all modules, such as 0.95
  --error SHARE  Smallest ranks by module with at most this relative error of the update, such as 0.05
  --budget SIZE  Best ranks by module within a size, such as 4MB
  --max-rank N  Largest rank of a module, for the options above
  --to DIR  Folder to create
  --add ADAPTER=WEIGHT...  Add another LoRA of the same model, such as other.safetensors=0.5
  --weight WEIGHT  Weight of ADAPTER itself (default 1)
  --dtype NAME{F32,F16,BF16}  Type of the factors (default: that of ADAPTER)
  --threads N  Threads (default: one per CPU, at most 8)
  --dry-run  Write nothing, only show what would be kept
  --modules  Show what is kept of each module; the model card has it in any case
  ${JSON_LINES}

  Examples:
  my-lora --rank 8 --to my-lora-8  One rank for all modules
  style.safetensors --energy 0.95 --max-rank 32 --to style-small  A rank for each module
  a.safetensors --weight 0.7 --add b.safetensors=0.3 --rank 16 --to both  Merge two LoRAs
`(async (args) => {
  const request = {
    source: args.positionals[0]!,
    weight: numberOf(args, "weight") ?? 1,
    added: args.values("add").map(addedOf),
    dtype: args.value("dtype"),
    choices: await choicesOf(args),
  };
  const parent = parentFolder(args);
  const { resize } = await import("../../resize/resize.ts");
  const { CAUTION, changesTable } = await import("../../resize/card.ts");
  return await interruptible(async (signal) => {
    const show = progressLine();
    const run = (output: string | undefined) =>
      resize(request, {
        output,
        threads: args.integer("threads", 1) ??
          Math.min(navigator.hardwareConcurrency, 8),
        signal,
        log: (line) => console.error(printable(line)),
        onProgress: (done, total) =>
          show({
            type: "progress",
            stage: "",
            done: Math.floor(done),
            total,
            unit: "modules",
          }),
      });
    let results: readonly Resized[] = [];
    if (parent === undefined) results = await run(undefined);
    else {
      await createFolder(resolve(Deno.cwd(), parent), async (temporary) => {
        const output = join(temporary, "adapter");
        Deno.mkdirSync(output);
        results = await run(output);
        return output;
      });
    }
    for (const result of results) {
      if (args.has("json")) writeJson(result, args);
      else writeText(result, changesTable(result, args.has("modules")), parent);
    }
    if (args.has("json")) return;
    const advice =
      `${CAUTION} For an encoder, "deno task pipeline resize" scores every rank on your data.`;
    writeOut(`${terminalMarkdown(asTyped(advice))}\n`);
  });
});

/**
 * The folder to create for those of the results; undefined with `--dry-run`.
 *
 * @throws {UsageError} If it is missing, or names a file.
 */
function parentFolder(args: Arguments): string | undefined {
  const to = args.value("to");
  if (to === undefined && !args.has("dry-run")) {
    throw new UsageError('Missing option "--to": name a folder to create');
  }
  if (to?.endsWith(".safetensors")) {
    throw invalidValue(
      "to",
      to,
      "expected a folder, in which the file keeps its name, and gets a model card",
    );
  }
  return args.has("dry-run") ? undefined : to;
}

/** Writes what is kept of each module, and of all, as lines of JSON. */
function writeJson(
  { folder, modules, total, fileBytes }: Resized,
  args: Arguments,
): void {
  for (const module of modules) {
    writeLine(args, { type: "module", folder, ...module }, "");
  }
  writeLine(args, { type: "total", folder, ...total, fileBytes }, "");
}

/**
 * Shows what is kept, and names the folder that was written.
 *
 * @param table What is kept, in Markdown
 * @param parent As {@linkcode parentFolder} gives it
 */
function writeText(
  { folder, fileBytes }: Resized,
  table: string,
  parent: string | undefined,
): void {
  writeOut(`${terminalMarkdown(table)}\n`);
  if (parent === undefined) return;
  writeOut(`Wrote ${join(parent, folder)}, ${bytes(fileBytes)}\n\n`);
}

/**
 * How ranks are chosen, by the folder of the result.
 *
 * @throws {UsageError} If the options do not name one way.
 */
async function choicesOf(args: Arguments): Promise<Map<string, RankTarget>> {
  const options = ["rank", "ranks", "energy", "error", "budget"]
    .filter((name) => args.has(name));
  const [name] = options;
  if (name === undefined || options.length > 1) {
    throw new UsageError(
      "Give one of --rank, --ranks, --energy, --error and --budget",
    );
  }
  const maxRank = args.integer("max-rank", 1);
  if (maxRank !== undefined && ["rank", "ranks"].includes(name)) {
    throw new UsageError(`Option "--max-rank" cannot be used with "--${name}"`);
  }
  const text = args.value(name)!;
  if (name === "rank") return new Map([["", { rank: args.integer(name, 1)! }]]);
  if (name === "ranks") {
    const ranks = text.split(",").map(Number);
    if (!ranks.every((rank) => Number.isInteger(rank) && rank > 0)) {
      throw invalidValue(name, text, "expected a list such as 1,2,4");
    }
    return new Map(ranks.map((rank) => [`rank-${rank}`, { rank }]));
  }
  if (name === "budget") {
    return new Map([["", { budget: (await sizeOf(args, name))!, maxRank }]]);
  }
  const share = numberOf(args, name)!;
  if (share < 0 || share > 1) {
    throw invalidValue(name, text, "expected a number from 0 to 1");
  }
  const choice = name === "energy" ? { energy: share } : { error: share };
  return new Map([["", { ...choice, maxRank }]]);
}

/** @throws {UsageError} If the value of an option is not a number. */
function numberOf(args: Arguments, name: string): number | undefined {
  const text = args.value(name);
  if (text === undefined) return undefined;
  if (Number.isFinite(Number(text))) return Number(text);
  throw invalidValue(name, text, "expected a number");
}

function addedOf(text: string) {
  const [, source, weight] = /^(.+)=([^=]+)$/.exec(text) ?? [];
  if (source !== undefined && Number.isFinite(Number(weight))) {
    return { source, weight: Number(weight) };
  }
  throw invalidValue("add", text, "expected ADAPTER=WEIGHT");
}

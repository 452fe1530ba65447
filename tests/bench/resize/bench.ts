/**
 * Times `deno task resize` beside PyTorch on the same file, as whole processes.
 *
 *     eval "$(sh tests/bench/peer/setup.sh)"
 *     deno task bench resize --json
 */
import { join } from "node:path";
import * as z from "zod";
import {
  type Arguments,
  type Command,
  EXIT,
  readOptions,
} from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES, PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { bytes, duration } from "../../../lib/cli/terminal/messages.ts";
import { peerPython } from "../options.ts";

const Timed = z.strictObject({
  seconds: z.number().positive(),
  cpu_seconds: z.number().positive(),
  peak_bytes: z.int().positive(),
});

/** A process, and how many of the file's layers it resizes. */
interface Side {
  readonly name: string;
  readonly layers: number;
  readonly command: (output: string) => readonly string[];
}

/** Layers of Llama-3-8B, with seven adapted modules each. */
const LAYERS = 32;

const RANK = 8;

/** Compares a resized adapter with PyTorch. */
const REFERENCE = join(import.meta.dirname!, "../../resize/reference.py");

/** `deno task bench resize`. */
export const command: Command = {
  name: "bench resize",
  usage: "",
  description:
    "Time the resizing of a LoRA of rank 64 with the shapes of Llama-3-8B, 224 modules, to rank 8: this program, and PyTorch by the SVD of each product, by kohya's randomized one, and by QR of the factors. Prints seconds, processor seconds and peak memory of whole processes. The SVD of the products takes hours, so it gets some layers, and its times are multiplied. PEFT_PYTHON names the peer's Python. Run it on an idle machine.",
  options: [
    {
      name: "layers",
      value: "N",
      description: "Layers of the file (default 32)",
    },
    {
      name: "full-layers",
      value: "N",
      description:
        "Layers whose products are decomposed as a whole (default 1)",
    },
    {
      name: "dtype",
      value: "NAME",
      choices: ["float32", "bfloat16"],
      description: "Type of the file's tensors (default float32)",
    },
    ...readOptions(JSON_LINES),
  ],
  examples: [
    ["--json", "Time everything, one row per line"],
    ["--layers 2", "A smaller file"],
  ],
  positionals: { min: 0, max: 0 },
  run: bench,
};

async function bench(given: Arguments): Promise<number> {
  const python = peerPython();
  const layers = given.integer("layers", 1) ?? LAYERS;
  const fullLayers = Math.min(given.integer("full-layers", 1) ?? 1, layers);
  const script = [python, "-W", "ignore", join(import.meta.dirname!, "svd.py")];
  const folder = Deno.makeTempDirSync({ prefix: "bench-" });
  try {
    const adapter = join(folder, "adapter");
    const dtype = given.value("dtype") ?? "float32";
    await run([...script, "make", adapter, `${layers}`, dtype]);
    const peer = (method: string, name: string, count = layers): Side => ({
      name,
      layers: count,
      command: (output) => [
        ...[...script, method, adapter, output],
        ...[`${RANK}`, `${count}`],
      ],
    });
    const sides: Side[] = [
      {
        name: "ours",
        layers,
        command: (output) => [
          ...[Deno.execPath(), ...PROGRAM, "resize", adapter],
          ...["--rank", `${RANK}`, "--to", output],
        ],
      },
      peer("factors", "PyTorch, QR of the factors"),
      peer("lowrank", "PyTorch, randomized SVD of each product"),
      peer("full", "PyTorch, SVD of each product", fullLayers),
    ];
    const print = (row: unknown, text: string) =>
      console.log(given.has("json") ? JSON.stringify(row) : text);
    let ours: z.output<typeof Timed> | undefined;
    for (const { name, layers: own, command } of sides) {
      const text = await run([
        ...[...script, "timed"],
        ...command(join(folder, name)),
      ]);
      const times = Timed.parse(JSON.parse(text));
      ours ??= times;
      const share = layers / own;
      const row = {
        work: name,
        modules: 7 * own,
        seconds: share * times.seconds,
        cpuSeconds: share * times.cpu_seconds,
        peakBytes: times.peak_bytes,
        timesOurs: share * times.seconds / ours.seconds,
        timesOurCpu: share * times.cpu_seconds / ours.cpu_seconds,
        timesOurMemory: times.peak_bytes / ours.peak_bytes,
      };
      print(
        row,
        [
          name.padEnd(40),
          duration(row.seconds).padStart(12),
          duration(row.cpuSeconds).padStart(12),
          bytes(row.peakBytes).padStart(8),
          `${row.timesOurs.toFixed(1)}x`.padStart(8),
          `${row.timesOurMemory.toFixed(1)}x`.padStart(6),
        ].join(" "),
      );
      if (name !== "ours") continue;
      const { modules, values, product } = JSON.parse(
        await run([
          ...[python, "-W", "ignore", REFERENCE, "compare", "llama"],
          ...[adapter, join(folder, name), `${RANK}`],
        ]),
      );
      print(
        {
          work: "difference from PyTorch in float64",
          modules,
          values,
          product,
        },
        `Of ${modules} modules, singular values differ from those of PyTorch in float64 by ${
          values.toPrecision(2)
        } of their size at most, products by ${product.toPrecision(2)}`,
      );
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  return EXIT.success;
}

/** Standard output of a command that succeeds. */
async function run([program, ...args]: readonly string[]): Promise<string> {
  const { code, stdout } = await new Deno.Command(program!, {
    args,
    stderr: "inherit",
  }).output();
  if (code !== 0) throw new Error(`"${program}" ended with code ${code}`);
  return new TextDecoder().decode(stdout);
}

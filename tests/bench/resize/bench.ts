/**
 * Times `deno task resize` beside PEFT and PyTorch on the same files, as whole
 * processes.
 *
 *     eval "$(sh tests/bench/peer/setup.sh)"
 *     deno task bench resize --layers 1,2,4 --json
 */
import { join } from "node:path";
import * as z from "zod";
import {
  type Arguments,
  EXIT,
  UsageError,
} from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES, PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { bytes, duration } from "../../../lib/cli/terminal/messages.ts";
import { benchmark, integersOf, peerPython } from "../options.ts";

const Timed = z.strictObject({
  seconds: z.number().positive(),
  cpu_seconds: z.number().positive(),
  peak_bytes: z.int().positive(),
});
type Timed = z.output<typeof Timed>;

const RANK = 8;

/**
 * Models, with the modules that a layer has, and the file in which a LoRA of
 * them is.
 */
const MODELS = {
  llama: { modules: 7, file: "" },
  sdxl: { modules: 11, file: "adapter.safetensors" },
} as const;

/** Methods, by the name of `--only`. */
const METHODS = {
  ours: "this",
  factors: "PyTorch, QR of the factors",
  lowrank: "PyTorch, randomized SVD of each product",
  full: "PyTorch, SVD of each product",
  peft: "PEFT's convert_to_lora()",
} as const;
type Method = keyof typeof METHODS;

/** Compares a resized adapter with PyTorch. */
const REFERENCE = join(import.meta.dirname!, "../../resize/reference.py");

/** `deno task bench resize`. */
export const command = benchmark`
  resize

  Time the resizing to rank 8 of a LoRA with the shapes of Llama-3-8B and rank 64, or of SDXL with convolutions and rank 128: this program, PEFT's convert_to_lora(), and PyTorch by the SVD of each product, by kohya's randomized one, and by QR of the factors. Prints seconds, processor seconds and peak memory of whole processes for each number of layers, and what a further layer takes, since modules are resized one by one; Llama has 32 layers. The SVD of a layer's products takes minutes. PEFT_PYTHON names the peer's Python. Run it on an idle machine.

  Options:
  --layers LIST  Numbers of layers, of seven modules each for Llama and eleven of all kinds for SDXL (default 1,2,4)
  --model NAME{${
  Object.keys(MODELS).join()
}}  Whose shapes: llama or sdxl (default llama)
  --only LIST  Methods of ${
  Object.keys(METHODS).join()
} (default: all; PEFT converts no convolutions)
  --dtype NAME{float32,float16,bfloat16}  Type of the file's tensors (default float32)
  ${JSON_LINES}

  Examples:
  --json  Time everything, one row per line
  --layers 32 --only ours,factors  Time all of Llama's layers
  --model sdxl --only ours,full  Time convolutions of rank 128
`(bench);

async function bench(args: Arguments): Promise<number> {
  const python = peerPython();
  const kind = (args.value("model") ?? "llama") as keyof typeof MODELS;
  const { modules, file } = MODELS[kind];
  const counts = integersOf(args, "layers", "1,2,4");
  const methods = methodsOf(args, kind);
  const script = [python, "-W", "ignore", join(import.meta.dirname!, "svd.py")];
  const print = (row: unknown, text: string) =>
    console.log(args.has("json") ? JSON.stringify(row) : text);
  const times = new Map<Method, (readonly [number, Timed])[]>();
  for (const layers of counts) {
    const folder = Deno.makeTempDirSync({ prefix: "bench-" });
    try {
      const adapter = join(folder, file || "adapter");
      const dtype = args.value("dtype") ?? "float32";
      await run([...script, "make", kind, adapter, `${layers}`, dtype]);
      let ours: Timed | undefined;
      for (const method of methods) {
        const output = join(folder, method);
        const command = method === "ours"
          ? [
            ...[Deno.execPath(), ...PROGRAM, "resize", adapter],
            ...["--rank", `${RANK}`, "--to", output],
          ]
          : [...script, method, adapter, output, `${RANK}`];
        const text = await run([...script, "timed", ...command]);
        const timed = Timed.parse(JSON.parse(text));
        times.set(method, [...times.get(method) ?? [], [layers, timed]]);
        if (method === "ours") ours = timed;
        const row = {
          method: METHODS[method],
          model: kind,
          layers,
          modules: layers * modules,
          seconds: timed.seconds,
          cpuSeconds: timed.cpu_seconds,
          peakBytes: timed.peak_bytes,
          ...(ours && {
            timesOurs: timed.seconds / ours.seconds,
            timesOurCpu: timed.cpu_seconds / ours.cpu_seconds,
            timesOurMemory: timed.peak_bytes / ours.peak_bytes,
          }),
        };
        print(
          row,
          [
            row.method.padEnd(40),
            `${row.modules} modules`.padStart(12),
            duration(row.seconds).padStart(12),
            duration(row.cpuSeconds).padStart(12),
            bytes(row.peakBytes).padStart(8),
            ...(ours
              ? [
                `${row.timesOurs!.toFixed(1)}x`.padStart(8),
                `${row.timesOurMemory!.toFixed(1)}x`.padStart(6),
              ]
              : []),
          ].join(" "),
        );
        if (method !== "ours") continue;
        const compared = await run([
          ...[python, "-W", "ignore", REFERENCE, "compare", kind],
          ...[adapter, join(output, file), `${RANK}`],
        ]);
        const { values, product } = JSON.parse(compared);
        print(
          { difference: { modules: layers * modules, values, product } },
          `  Singular values differ from those of PyTorch in float64 by ${
            values.toPrecision(2)
          } of their size at most, products by ${product.toPrecision(2)}`,
        );
      }
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  }
  for (const [method, points] of times) {
    if (points.length < 2) continue;
    const line = lineThrough(
      points.map(([layers, { cpu_seconds }]) => [layers, cpu_seconds]),
    );
    print(
      { method: METHODS[method], line },
      `${METHODS[method]}: ${duration(line.start)} and ${
        duration(line.perLayer)
      } of processor time per layer, from which no time differs by more than ${
        (100 * line.error).toFixed(1)
      } %`,
    );
  }
  return EXIT.success;
}

/** @throws {UsageError} If there is no such method, or not for this model. */
function methodsOf(args: Arguments, kind: keyof typeof MODELS): Method[] {
  const all = (Object.keys(METHODS) as Method[])
    .filter((name) => kind === "llama" || name !== "peft");
  const only = args.value("only");
  if (only === undefined) return all;
  return only.split(",").map((name) => {
    const found = all.find((it) => it === name);
    if (found !== undefined) return found;
    throw new UsageError(
      `Invalid value "${name}" for option "--only": expected some of ${all}`,
    );
  });
}

/**
 * The line of least squares through points, and the largest relative distance
 * of a point from it.
 */
function lineThrough(points: readonly (readonly [number, number])[]) {
  const mean = (at: 0 | 1) =>
    points.reduce((sum, it) => sum + it[at], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const perLayer = points.reduce((sum, it) => sum + (it[0] - x) * it[1], 0) /
    points.reduce((sum, it) => sum + (it[0] - x) ** 2, 0);
  const start = y - perLayer * x;
  const error = Math.max(
    ...points.map(([layers, seconds]) =>
      Math.abs(start + perLayer * layers - seconds) / seconds
    ),
  );
  return { start, perLayer, error };
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

import { basename, join } from "node:path";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import {
  createSafetensors,
  formatHeader,
} from "../engine/safetensors/writer.ts";
import {
  type Adapter,
  type Module,
  readAdapter,
  weightedSum,
} from "./adapter.ts";
import { changesOf, modelCard, rankRange, type Resized } from "./card.ts";
import { chooseRanks, type RankTarget, type Spectrum } from "./choose.ts";
import { drawSpectra } from "./figure.ts";
import { type Job, ModuleResizer } from "./module_resizer.ts";
import {
  configAt,
  factorBytes,
  metadataAt,
  type Ranks,
  tensorsAt,
} from "./rewrite.ts";
import { findAdapter, type SourceOptions } from "./source.ts";
import type { Answer } from "./worker.ts";

/** An adapter to resize, with others of the same model added to it. */
export interface ResizeRequest {
  /** As {@linkcode findAdapter} takes it. */
  readonly source: string;
  /** Factor of its update. */
  readonly weight: number;
  readonly added: readonly {
    readonly source: string;
    readonly weight: number;
  }[];
  /**
   * Type of the factors that are written: F32, F16 or BF16; undefined for that
   * of the source.
   */
  readonly dtype: string | undefined;
  /**
   * What to write, by the folder below the output; `""` for the output itself.
   */
  readonly choices: ReadonlyMap<string, RankTarget>;
}

/** How to do it. */
export interface ResizeOptions extends SourceOptions {
  /** An empty folder; undefined to write nothing. */
  readonly output: string | undefined;
  /** Threads that decompose modules; with 1, this one does. */
  readonly threads: number;
  /** Called with done and total, in arbitrary units. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Resizes an adapter: replaces the update of each module by its best
 * approximation of a lower rank, computed from the factors in float64. The
 * files are read and written a module at a time.
 *
 * @throws {SyntaxError | RangeError} If the adapter or the choice is invalid.
 */
export async function resize(
  request: ResizeRequest,
  options: ResizeOptions,
): Promise<readonly Resized[]> {
  const { source, weight, dtype, choices } = request;
  const files = await findAdapter(source, options);
  const adapters: [Adapter, number][] = [[await readAdapter(files), weight]];
  for (const added of request.added) {
    const addedFiles = await findAdapter(added.source, options);
    adapters.push([await readAdapter(addedFiles), added.weight]);
  }
  const adapter = weightedSum(adapters);
  const { modules } = adapter;
  const ranksBefore = modules.map(({ rank }) => rank);
  const range = rankRange(ranksBefore);
  options.log?.(
    `${adapter.format}: ${modules.length} modules of rank ${range}`,
  );
  for (const { rank = 0 } of choices.values()) {
    if (rank <= Math.max(...ranksBefore)) continue;
    throw new RangeError(
      `Rank ${rank} is above the ranks of "${adapter.path}", which are ${range}`,
    );
  }

  const isKnown = options.output !== undefined &&
    [...choices.values()].every(({ rank }) => rank !== undefined);
  // If ranks depend on the singular values of all modules, these are found
  // first, and no more is kept of a module meanwhile.
  let spectra: readonly Spectrum[] = isKnown
    ? modules.map((module) => ({ module, values: new Float64Array() }))
    : await decomposeAll(modules.map((module) => ({ module, outputs: [] })), {
      ...options,
      share: options.output === undefined ? [0, 1] : [0, 0.5],
    });
  const outputs = [...choices].map(([folder, choice]) => ({
    folder,
    ...chooseFile(adapter, spectra, choice, dtype),
  }));
  if (options.output !== undefined) {
    const path = (folder: string) =>
      join(options.output!, folder, basename(files.weights));
    // With room for the factors, and everything else copied.
    for (const { folder, tensors, metadata } of outputs) {
      await Deno.mkdir(join(options.output, folder), { recursive: true });
      using from = SafetensorsFile.open(adapter.path);
      using to = createSafetensors(path(folder), tensors, metadata);
      for (const { name } of adapter.carried) to.write(name, from.raw(name));
    }
    spectra = await decomposeAll(
      modules.map((module) => ({
        module,
        outputs: outputs.map(({ folder, ranks }) => ({
          path: path(folder),
          rank: ranks.get(module.name)!,
          dtype,
        })),
      })),
      { ...options, share: isKnown ? [0, 1] : [0.5, 1] },
    );
  }
  const resized = outputs.map(({ folder, ranks, fileBytes }) => ({
    folder,
    ...changesOf(spectra, ranks, dtype),
    fileBytes,
  }));
  if (options.output === undefined) return resized;
  const { output } = options;
  const title = request.added.length === 0
    ? basename(source)
    : [{ source, weight }, ...request.added]
      .map(({ source, weight }) => `${weight} ${basename(source)}`).join(" + ");
  const card = files.others.get("README.md");
  const before = card && await Deno.readTextFile(card);
  for (const [i, { folder, ranks }] of outputs.entries()) {
    const at = (name: string) => join(output, folder, name);
    for (const [name, path] of files.others) {
      await Deno.copyFile(path, at(name));
    }
    const about = { adapter, resized: resized[i]!, title };
    const config = configAt(adapter, ranks);
    const texts = {
      ...config !== undefined && { [basename(files.config!)]: config },
      "singular-values.svg": await drawSpectra(spectra, ranks),
      "README.md": modelCard(before, about),
    };
    for (const [name, text] of Object.entries(texts)) {
      await Deno.writeTextFile(at(name), text);
    }
  }
  return resized;
}

/** The safetensors file of an adapter at some ranks, without values. */
function fileAt(adapter: Adapter, ranks: Ranks, dtype: string | undefined) {
  const factors = adapter.modules.flatMap((module) => {
    const { a, b, alpha } = tensorsAt(module, ranks.get(module.name)!, dtype);
    return alpha === undefined ? [a, b] : [a, b, alpha];
  });
  const tensors = new Map(
    [...factors, ...adapter.carried].map(({ name, dtype, shape }) => [
      name,
      { dtype, shape },
    ]),
  );
  const metadata = metadataAt(adapter, ranks);
  const { fileBytes } = formatHeader(tensors, metadata);
  return { ranks, tensors, metadata, fileBytes };
}

/** @throws {RangeError} If the file exceeds its budget at rank 1. */
function chooseFile(
  adapter: Adapter,
  spectra: readonly Spectrum[],
  choice: RankTarget,
  dtype: string | undefined,
) {
  const { budget } = choice;
  const bytesOf = (module: Module) => factorBytes(module, 1, dtype);
  // The file has a header, too, which is longest at full rank, and what is
  // carried.
  const whole = new Map(adapter.modules.map(({ name, rank }) => [name, rank]));
  const more = fileAt(adapter, whole, dtype).fileBytes -
    adapter.modules.reduce((sum, it) => sum + it.rank * bytesOf(it), 0);
  const ranks = chooseRanks(
    spectra,
    { ...choice, budget: budget && budget - more },
    bytesOf,
  );
  const file = fileAt(adapter, ranks, dtype);
  if (file.fileBytes <= (budget ?? Infinity)) return file;
  throw new RangeError(
    `A budget of ${budget} bytes is too small: at rank 1, the file has ${file.fileBytes} bytes; give at least --budget ${file.fileBytes}B`,
  );
}

/**
 * Decomposes modules, and writes them to their outputs.
 *
 * @param options.share Part of the whole work that this is
 */
async function decomposeAll(
  jobs: readonly Job[],
  { threads, signal, onProgress, share: [from, to] }: ResizeOptions & {
    readonly share: readonly [number, number];
  },
): Promise<readonly Spectrum[]> {
  const spectra = jobs.map(({ module }) => ({
    module,
    values: new Float64Array() as Float64Array,
  }));
  // The most expensive ones first, so that no thread starts one at the end.
  const costOf = ({ module: { inputs, outputs, rank } }: Job) =>
    (inputs + outputs + 10 * rank) * rank ** 2;
  const queue = [...jobs.entries()]
    .sort(([, a], [, b]) => costOf(b) - costOf(a));
  const total = jobs.reduce((sum, job) => sum + costOf(job), 0);
  let done = 0;
  const work = async (
    decompose: (job: Job) => Float64Array | Promise<Float64Array>,
  ) => {
    while (true) {
      const next = queue.shift();
      if (next === undefined) return;
      const [index, job] = next;
      signal?.throwIfAborted();
      spectra[index]!.values = await decompose(job);
      done += costOf(job);
      onProgress?.(from * total + (to - from) * done, total);
    }
  };
  if (threads === 1) {
    using resizer = new ModuleResizer();
    await work(async (job) => {
      // Signals arrive between modules.
      await new Promise((resolve) => setTimeout(resolve, 0));
      return resizer.resize(job);
    });
    return spectra;
  }
  const workers = Array.from(
    { length: Math.min(threads, jobs.length) },
    () =>
      new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }),
  );
  try {
    await Promise.all(
      workers.map((worker) => work((job) => ask(worker, job))),
    );
  } finally {
    for (const worker of workers) worker.terminate();
  }
  return spectra;
}

/** @throws {SyntaxError} As {@linkcode ModuleResizer.resize} does. */
async function ask(worker: Worker, job: Job): Promise<Float64Array> {
  const answer = await new Promise<Answer>((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
    worker.postMessage(job);
  });
  if ("values" in answer) return answer.values;
  throw new SyntaxError(answer.fault);
}

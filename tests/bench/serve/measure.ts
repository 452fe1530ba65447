import { load, type LoadOptions } from "../../../lib/serve/classifier.ts";

/** What a process or a page is asked to do. */
export interface Request {
  /** Path or URL of the export. */
  readonly folder: string;
  readonly texts: readonly string[];
  /** When it was started, in milliseconds since 1970. */
  readonly started: number;
}

/** What it measured. */
export interface Measured {
  /** Milliseconds from its start to the first answer. */
  readonly firstMs: number;
  readonly textsPerSecond: number;
  /** Of the first text, for each class. */
  readonly probabilities: readonly number[];
}

/**
 * Classifies the first text, then all of them twice, the first time without the
 * clock. Runs in Deno, Node.js and browsers.
 */
export async function measure(
  { folder, texts, started }: Request,
  options: LoadOptions = {},
): Promise<Measured> {
  const classify = await load(folder, options);
  const [first] = await classify(texts.slice(0, 1));
  const firstMs = Date.now() - started;
  await classify(texts);
  const begun = performance.now();
  await classify(texts);
  const seconds = (performance.now() - begun) / 1000;
  return {
    firstMs,
    textsPerSecond: texts.length / seconds,
    probabilities: Object.values(first!.scores),
  };
}

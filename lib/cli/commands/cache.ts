import { join } from "node:path";
import { defaultSettings } from "../../scheduler/settings.ts";
import {
  audit,
  cleanUp,
  diskUse,
  type Listed,
  listResults,
} from "../../store/cleanup.ts";
import { Store } from "../../store/store.ts";
import type { Command, Given } from "../arguments.ts";
import { EXIT, UsageError } from "../exit.ts";
import { HELP, JSON_LINES, OUT, outOf, sizeOf } from "../options.ts";
import { PROJECT } from "../place.ts";
import { didYouMean } from "../../pipeline/suggest.ts";
import { writeOut } from "../render/choose.ts";
import { bytes, count, duration } from "../render/words.ts";

/** What `deno task cache` can do. */
const ACTIONS: Readonly<
  Record<string, (store: Store, given: Given) => Promise<number>>
> = { ls, du, verify, gc, pin, unpin };

/** `deno task cache`: looks after the cache. */
export const command: Command = {
  name: "cache",
  usage: "ls|du|verify|gc|pin|unpin [RESULT...]",
  description: `Look after the cache of results.

ls lists the results, the last made first. du measures what the cache takes. verify reads everything in it and compares it with its digest; damaged files are removed, so that they are made again, and the exit code is 4. gc removes the oldest results until the cache fits the limit, but none that is pinned, that one of the last 10 runs of a pipeline came to, or that a run needs now; checkpoints of interrupted stages go with the oldest, and after 14 days in any case. pin keeps results for good; unpin lets them go.

A RESULT is PIPELINE/STAGE for the last result of a stage, or the first letters of a key as ls shows it.`,
  options: [
    {
      name: "cache-limit",
      value: "SIZE",
      description: "Size that gc cleans up to (default 50GB)",
    },
    OUT,
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["ls", "See what is in the cache"],
    ["gc --cache-limit 5GB", "Make it smaller"],
    ["pin glue-mini/train-dylora@mrpc,seed=0", "Keep a result"],
  ],
  takes: { least: 1, most: Infinity },
  async run(given) {
    const [name = ""] = given.positionals;
    const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
    if (action === undefined) {
      const names = Object.keys(ACTIONS);
      const hint = didYouMean(name, names) ||
        `; there are ${names.map((it) => `"${it}"`).join(", ")}`;
      throw new UsageError(`"cache" cannot do "${name}"${hint}`);
    }
    if (given.positionals.length > 1 && action !== pin && action !== unpin) {
      throw new UsageError(`Unexpected argument "${given.positionals[1]}"`);
    }
    return await action(new Store(join(outOf(given), "cache")), given);
  },
};

function ls(store: Store, given: Given): Promise<number> {
  for (const result of listResults(store)) {
    writeOut(
      given.has("json")
        ? `${JSON.stringify(result)}\n`
        : `${resultLine(result)}\n`,
    );
  }
  return Promise.resolve(EXIT.fine);
}

function resultLine(result: Listed): string {
  const { key, pipeline, stage, started, seconds, size, pinned } = result;
  return [
    key.slice(0, 12),
    started.slice(0, 16).replace("T", " "),
    bytes(size).padStart(7),
    duration(seconds).padStart(11),
    `${pipeline}/${stage}${pinned ? "  pinned" : ""}`,
  ].join("  ");
}

function du(store: Store, given: Given): Promise<number> {
  const use = diskUse(store);
  writeOut(
    given.has("json") ? `${JSON.stringify(use)}\n` : [
      `${bytes(use.blobs).padStart(8)}  contents of ${
        count(use.results, "result")
      }`,
      `${bytes(use.checkpoints).padStart(8)}  checkpoints`,
      `${bytes(use.other).padStart(8)}  logs and records`,
      `${bytes(use.total).padStart(8)}  ${store.folder}`,
      "",
    ].join("\n"),
  );
  return Promise.resolve(EXIT.fine);
}

async function verify(store: Store, given: Given): Promise<number> {
  const found = await audit(store);
  const { blobs, damaged, incomplete } = found;
  if (given.has("json")) writeOut(`${JSON.stringify(found)}\n`);
  else {
    for (const path of damaged) writeOut(`damaged, removed: ${path}\n`);
    for (const result of incomplete) {
      writeOut(`incomplete, will be made again: ${result}\n`);
    }
    writeOut(`${count(blobs, "file")} read, ${damaged.length} damaged\n`);
  }
  return damaged.length > 0 ? EXIT.corrupt : EXIT.fine;
}

async function gc(store: Store, given: Given): Promise<number> {
  const limit = await sizeOf(given, "cache-limit") ??
    defaultSettings(PROJECT).cacheLimit;
  const done = await cleanUp(store, limit);
  if (given.has("json")) writeOut(`${JSON.stringify(done ?? null)}\n`);
  else if (done === undefined) {
    writeOut(
      "A run is going on, or a newer version of this program keeps results here; nothing is removed\n",
    );
  } else {
    writeOut(
      `${count(done.removed.length, "result")} removed, ${
        bytes(done.freed)
      } freed, ${bytes(done.left)} left\n`,
    );
  }
  return EXIT.fine;
}

function pin(store: Store, given: Given): Promise<number> {
  return setPins(store, given, true);
}

function unpin(store: Store, given: Given): Promise<number> {
  return setPins(store, given, false);
}

async function setPins(
  store: Store,
  given: Given,
  pinned: boolean,
): Promise<number> {
  const wanted = given.positionals.slice(1);
  if (wanted.length === 0) {
    throw new UsageError("Name the results: PIPELINE/STAGE, or a key");
  }
  const results = listResults(store);
  const keys = wanted.map((text) => keyOf(text, results));
  await store.pins.set(keys, pinned);
  for (const key of keys) {
    writeOut(
      given.has("json")
        ? `${JSON.stringify({ key, pinned })}\n`
        : `${key.slice(0, 12)}  ${pinned ? "pinned" : "no longer pinned"}\n`,
    );
  }
  return EXIT.fine;
}

function keyOf(text: string, results: readonly Listed[]): string {
  const found = /^[0-9a-f]{4,64}$/.test(text)
    ? results.filter(({ key }) => key.startsWith(text))
    : results.filter((it) => `${it.pipeline}/${it.stage}` === text).slice(0, 1);
  const [first, second] = found;
  if (first !== undefined && second === undefined) return first.key;
  if (second !== undefined) {
    throw new UsageError(`"${text}" begins more than one key`);
  }
  const names = new Set(results.map((it) => `${it.pipeline}/${it.stage}`));
  throw new UsageError(
    `The cache has no result "${text}"${didYouMean(text, names)}`,
  );
}

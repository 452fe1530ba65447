import { didYouMean } from "../../pipeline/did_you_mean.ts";
import { printable } from "../../pipeline/faults.ts";
import { openStore } from "../../scheduler/context.ts";
import { local } from "../../scheduler/executors/local.ts";
import { sweepRuns } from "../../scheduler/runs.ts";
import { defaultSettings } from "../../scheduler/settings.ts";
import {
  audit,
  cleanUp,
  diskUse,
  type Listed,
  listResults,
} from "../../store/cleanup.ts";
import type { Store } from "../../store/store.ts";
import {
  type Arguments,
  command,
  EXIT,
  readOptions,
  UsageError,
} from "../arguments/arguments.ts";
import {
  JSON_LINES,
  KEY_OPTIONS,
  outOf,
  PROJECT,
  sizeOf,
} from "../arguments/options.ts";
import { REMOTE } from "../runtime/remote.ts";
import { bytes, count, duration, localTime } from "../terminal/messages.ts";
import { writeLine } from "../terminal/renderer.ts";
import * as remotes from "./cache_remote.ts";

/** Options that choose the results of a pipeline. */
const OF_PIPELINE = readOptions(KEY_OPTIONS).map(({ name }) => name)
  .filter((name) => name !== "out");

interface Action {
  readonly run: (
    store: Store,
    args: Arguments,
  ) => void | Promise<number | void>;
  readonly positionals?: number;
  /** Options that only some actions have. */
  readonly options?: readonly string[];
}

const OF_REMOTE = { positionals: 1, options: ["remote", ...OF_PIPELINE] };

const ACTIONS: Readonly<Record<string, Action>> = {
  ls: { run: ls, options: ["remote"] },
  du: { run: du },
  verify: { run: verify },
  gc: { run: gc, options: ["cache-limit", "older-than", "remote"] },
  pin: { run: (...to) => setPins(...to, true), positionals: Infinity },
  unpin: { run: (...to) => setPins(...to, false), positionals: Infinity },
  key: { run: (_, args) => remotes.showKey(args) },
  push: { run: remotes.push, ...OF_REMOTE },
  pull: { run: remotes.pull, ...OF_REMOTE },
  bundle: { run: remotes.bundle, positionals: 1, options: OF_PIPELINE },
};

export const cacheCommand = command`
  cache ls|du|verify|gc|pin|unpin|key|push|pull|bundle [RESULT...|PIPELINE]

  Manage the cache of results.

  ls lists the results, newest first. du prints the disk usage. verify compares every file with its digest and removes damaged ones, which the next run makes again; it exits with code 4 if there are any. gc removes the oldest results until everything in the cache is within the limit; it keeps pinned results, those of the last 10 runs of each pipeline, those that output folders show, and those that a current run needs. It also removes the oldest checkpoints of interrupted stages and logs of failures, and all checkpoints that are older than 14 days. pin protects results from gc; unpin undoes that. key prints the public key by which others trust the results that you store in a remote, and makes the key if you have none. push stores the results of a PIPELINE with these parameters in the remote, or all of the cache; pull takes them from it. bundle writes those of a PIPELINE to standard output as a tar file, which is a remote as well. With --remote, ls lists the results in it, and gc removes those that ran before --older-than.

  A RESULT is PIPELINE/STAGE for the result in the output folder of a stage, or the start of a key as printed by ls.

  Options:
  --cache-limit SIZE  With gc: maximum size of the cache (default 50GB)
  ${REMOTE}
  --older-than AGE  With gc --remote: minimum age of the results to remove, such as 90d
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  ls  List the results
  gc --cache-limit 5GB  Reduce the cache to 5 GB
  pin glue-mini/train-dylora@mrpc,seed=0  Keep a result
`(async (args) => {
  const [name = ""] = args.positionals;
  const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
  if (action === undefined) {
    const hint = didYouMean(name, Object.keys(ACTIONS), "expected");
    throw new UsageError(`Unknown action "${name}" of "cache"${hint}`);
  }
  const { run, positionals = 0 } = action;
  const unexpected = args.positionals[1 + positionals];
  if (unexpected !== undefined) {
    throw new UsageError(`Unexpected argument "${unexpected}"`);
  }
  for (const option of args.options.keys()) {
    const having = Object.entries(ACTIONS)
      .flatMap(([name, it]) => it.options?.includes(option) ? name : []);
    if (having.length === 0 || having.includes(name)) continue;
    const names = having.map((it) => `"cache ${it}"`).join(", ");
    throw new UsageError(`Option "--${option}" is for ${names} only`);
  }
  return await run(openStore({ out: outOf(args) }), args);
});

async function ls(store: Store, args: Arguments): Promise<number | void> {
  const show = (result: Listed | remotes.ListedRemotely) => {
    const { key, pipeline, stage, started, seconds, size } = result;
    const columns = [
      key.slice(0, 12),
      localTime(started),
      bytes(size).padStart(7),
      duration(seconds).padStart(11),
      `${pipeline}/${stage}`,
      ...("pinned" in result && result.pinned ? ["pinned"] : []),
    ];
    if ("signer" in result) {
      const doubt = result.trusted ? "" : ", not trusted";
      columns.push(`by ${result.signer.slice(0, 12)}${doubt}`);
    }
    writeLine(args, result, printable(columns.join("  ")));
  };
  if (args.has("remote")) return await remotes.list(store, args, show);
  listResults(store).forEach(show);
}

function du(store: Store, args: Arguments): void {
  const use = diskUse(store);
  const size = (of: number) => bytes(of).padStart(8);
  const lines = [
    `${size(use.blobs)}  contents of ${count(use.results, "result")}`,
    `${size(use.checkpoints)}  checkpoints`,
    `${size(use.other)}  logs and records`,
    `${size(use.total)}  ${store.folder}`,
  ];
  writeLine(args, use, lines.join("\n"));
}

async function verify(store: Store, args: Arguments): Promise<number> {
  const result = await audit(store);
  const { blobs, damaged, incomplete } = result;
  const lines = [
    ...damaged.map((path) => `damaged, removed: ${path}`),
    ...incomplete.map((result) =>
      `incomplete, the next run makes it again: ${result}`
    ),
    `${count(blobs, "file")} read, ${damaged.length} damaged`,
  ];
  writeLine(args, result, lines.join("\n"));
  return damaged.length > 0 ? EXIT.corrupt : EXIT.success;
}

async function gc(store: Store, args: Arguments): Promise<number | void> {
  if (args.has("remote")) return await remotes.gc(store, args);
  if (args.has("older-than")) {
    throw new UsageError('Option "--older-than" requires "--remote"');
  }
  const limit = await sizeOf(args, "cache-limit") ??
    defaultSettings(PROJECT).cacheLimit;
  // What killed runs have left takes space as well.
  await sweepRuns(store, local);
  const done = await cleanUp(store, limit);
  if (done === undefined) {
    const text =
      "Nothing removed: a run is in progress; try again when it has ended";
    return writeLine(args, null, text);
  }
  const { removed, freed, left, kept: { shown, recent, pinned } } = done;
  const above =
    `, above the limit; results are kept that output folders show (${shown}), that the latest runs used (${recent}) or that are pinned (${pinned})`;
  const text = [
    `${count(removed.length, "result")} removed`,
    `${bytes(freed)} freed`,
    `${bytes(left)} left${left <= limit ? "" : above}`,
  ];
  writeLine(args, done, text.join(", "));
}

async function setPins(
  store: Store,
  args: Arguments,
  pinned: boolean,
): Promise<void> {
  const names = args.positionals.slice(1);
  if (names.length === 0) {
    const usage = `deno task cache ${pinned ? "pin" : "unpin"} RESULT...`;
    throw new UsageError(
      `Missing result: ${usage}, where RESULT is PIPELINE/STAGE or a key`,
    );
  }
  const results = listResults(store);
  const keys = names.map((name) => keyOf(name, results, store));
  await store.pins.set(keys, pinned);
  for (const key of keys) {
    const text = `${key.slice(0, 12)}  ${pinned ? "pinned" : "unpinned"}`;
    writeLine(args, { key, pinned }, text);
  }
}

/** The key of the result that `PIPELINE/STAGE` or the start of a key names. */
function keyOf(name: string, results: readonly Listed[], store: Store): string {
  const [, pipeline = "", stage = ""] = /^([^/]+)\/([^/]+)$/.exec(name) ?? [];
  const matches = /^[0-9a-f]{4,64}$/.test(name)
    ? results.filter(({ key }) => key.startsWith(name))
    : [
      // The one in the output folder, which another pipeline may have made.
      ...store.results(pipeline, stage),
      ...results.filter((it) => `${it.pipeline}/${it.stage}` === name),
    ].slice(0, 1);
  const [first, second] = matches;
  if (second !== undefined) {
    throw new UsageError(
      `Key "${name}" is ambiguous, it matches ${matches.length} results: give more characters`,
    );
  }
  if (first !== undefined) return first.key;
  const names = new Set(results.map((it) => `${it.pipeline}/${it.stage}`));
  const ofMatrix = [...names].find((it) => it.startsWith(`${name}@`));
  const hint = ofMatrix === undefined
    ? didYouMean(name, names) || '; run "deno task cache ls" for a list'
    : `; did you mean "${ofMatrix}"?`;
  throw new UsageError(`The cache has no result "${name}"${hint}`);
}

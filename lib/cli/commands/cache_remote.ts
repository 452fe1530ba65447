/** The actions of `deno task cache` on a remote. */
import { Remote } from "../../remote/remote.ts";
import { makeKey, readKey } from "../../remote/signature.ts";
import { FolderTransport, RemoteFault } from "../../remote/transport.ts";
import { plan } from "../../scheduler/plan.ts";
import { holdOff, type ResultSummary, summaryOf } from "../../store/cleanup.ts";
import { removeFolder, statIfThere } from "../../files/files.ts";
import type { Store } from "../../store/store.ts";
import {
  Arguments,
  EXIT,
  invalidValue,
  UsageError,
} from "../arguments/arguments.ts";
import { openRun } from "../runtime/executor.ts";
import { keyFile, openRemote, remoteSettings } from "../runtime/remote.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { bytes, count, messageLine } from "../terminal/messages.ts";
import { writeLine } from "../terminal/renderer.ts";

/** Prints the user's public key, which is made if there is none. */
export async function showKey(args: Arguments): Promise<void> {
  const file = keyFile();
  if (!statIfThere(file)) await makeKey(file);
  const { signer } = (await readKey(file))!;
  writeLine(args, { signer, file }, signer);
}

/**
 * Stores results of the cache in the remote: those that a pipeline needs now,
 * or all.
 */
export async function push(store: Store, args: Arguments): Promise<number> {
  return await withRemote(store, args, "write", async (remote) => {
    await offerAll(store, await keysOf(args) ?? store.manifests.keys(), remote);
    if (remote.stats.offered > 0) return;
    console.error(
      "The cache has no such result: run the pipeline first, with the same parameters and engine",
    );
  });
}

async function offerAll(store: Store, keys: readonly string[], remote: Remote) {
  using _live = await holdOff(store);
  for (const key of keys) {
    const manifest = store.manifests.find(key);
    if (manifest !== undefined) remote.offer(manifest);
  }
  await remote.end();
}

/**
 * Takes results from the remote into the cache: those that a pipeline needs
 * now, or all that are trusted.
 */
export async function pull(store: Store, args: Arguments): Promise<number> {
  return await withRemote(store, args, "read", async (remote) => {
    const keys = await keysOf(args, remote) ??
      (await remote.list()).filter(({ isTrusted }) => isTrusted)
        .map(({ manifest }) => manifest.key);
    using _live = await holdOff(store);
    if (keys.length === 0) console.error("The remote has no such result");
    await Promise.all(keys.map(async (key) => {
      if ((await store.lookup(key)).state === "found") return;
      await (await remote.find(key))?.fetch();
    }));
    await remote.end();
  });
}

/**
 * Writes the results that a pipeline needs now to standard output, as a tar
 * that is a remote to read from.
 */
export async function bundle(store: Store, args: Arguments): Promise<number> {
  if (Deno.stdout.isTerminal()) {
    throw new UsageError('A bundle is a file: add "> results.tar"');
  }
  const key = await readKey(keyFile());
  if (key === undefined) {
    throw new UsageError(
      'The results of a bundle are signed: make a key with "deno task cache key"',
    );
  }
  const keys = await keysOf(args);
  if (keys === undefined) throw new UsageError("Missing argument: PIPELINE");
  const { pack } = await import("../../remote/tar.ts");
  const folder = Deno.makeTempDirSync({ prefix: "dylora-" });
  using stack = new DisposableStack();
  stack.defer(() => removeFolder(folder));
  const open = () => Promise.resolve(folder);
  const to = new FolderTransport("the bundle", false, open);
  const say = (text: string) => console.error(text);
  const remote = new Remote(to, store, { trusted: [], key, say });
  await offerAll(store, keys, remote);
  await pack(folder, Deno.stdout.writable);
  const { stored, storedBytes } = remote.stats;
  const size = bytes(storedBytes);
  say(`${count(stored, "result")}, ${size}, signed by ${key.signer}`);
  if (stored === keys.length) return EXIT.success;
  say(`The cache lacks ${keys.length - stored} more: run the pipeline first`);
  return EXIT.failed;
}

/** A result in a remote, with the public key of who vouches for it. */
export interface ListedRemotely extends ResultSummary {
  readonly signer: string;
  readonly trusted: boolean;
}

/** Shows the results in the remote, latest first. */
export async function list(
  store: Store,
  args: Arguments,
  show: (result: ListedRemotely) => void,
): Promise<number> {
  return await withRemote(store, args, "read", async (remote) => {
    const listed = (await remote.list()).map(
      ({ manifest, signer, isTrusted }): ListedRemotely => ({
        ...summaryOf(manifest),
        signer,
        trusted: isTrusted,
      }),
    );
    listed.sort((a, b) => a.started < b.started ? 1 : -1);
    for (const result of listed) show(result);
  });
}

/** Removes old results from the remote. */
export async function gc(store: Store, args: Arguments): Promise<number> {
  const text = args.value("older-than");
  if (text === undefined) {
    throw new UsageError(
      '"cache gc --remote" requires "--older-than AGE", such as 90d',
    );
  }
  const { Duration } = await import("../../pipeline/schema.ts");
  const age = Duration.safeParse(text);
  if (!age.success) {
    throw invalidValue("older-than", text, "expected an age such as 90d");
  }
  return await withRemote(store, args, "read", async (remote) => {
    const done = await remote.removeBefore(Date.now() - age.data * 1000);
    const results = count(done.results, "result");
    const files = count(done.blobs, "file");
    const text = `${results} and ${files} removed from ${remote.name}`;
    writeLine(args, done, text);
  });
}

/**
 * Does work with the remote of the arguments, and prints its transfer
 * statistics.
 *
 * @returns The exit code: that of a failure if the remote has failed or lied.
 */
async function withRemote(
  store: Store,
  args: Arguments,
  mode: "read" | "write",
  work: (remote: Remote) => Promise<void>,
): Promise<number> {
  const settings = (await remoteSettings(args, mode))!;
  let code: number = EXIT.success;
  const note = (text: string) => {
    code = EXIT.failed;
    console.error(text);
  };
  return await interruptible(async (signal) => {
    const remote = await openRemote(settings, store, note, signal);
    try {
      await work(remote);
    } catch (error) {
      if (!(error instanceof RemoteFault)) throw error;
      throw new Error(`The remote ${remote.name} ${error.message}`);
    }
    const { name, stats } = remote;
    const message = { type: "remote", remote: name, ...stats } as const;
    const text = messageLine(message);
    if (text !== undefined) writeLine(args, message, text);
    return code;
  });
}

/**
 * Keys of the results that the pipeline of the arguments needs now, as far as
 * the cache or the remote has them; undefined without a pipeline.
 */
async function keysOf(
  args: Arguments,
  remote?: Remote,
): Promise<string[] | undefined> {
  const [, ...positionals] = args.positionals;
  if (positionals.length === 0) return undefined;
  const ofPipeline = new Arguments(positionals, args.options);
  const { graph, store, settings } = await openRun(ofPipeline);
  const decisions = await plan(graph, [], { ...settings, remote }, store);
  return [...decisions.values()].flatMap((decision) =>
    "key" in decision ? decision.key : []
  );
}

/** The remote of a command: where it is, and what its results are used for. */
import type { Remote } from "../../remote/remote.ts";
import type { RemoteResults } from "../../scheduler/settings.ts";
import { isDigest } from "../../files/digest.ts";
import { statIfThere } from "../../files/files.ts";
import type { Store } from "../../store/store.ts";
import { type Arguments, UsageError } from "../arguments/arguments.ts";
import { commandLine, KEY_OPTIONS } from "../arguments/options.ts";
import type { RemoteMessage } from "../terminal/messages.ts";
import { configFile, readProfile } from "./executor.ts";

/** The address of a remote; without a value, the usual one. */
export const REMOTE =
  "--remote [URL]  Results of other machines: https://..., s3://BUCKET/PREFIX or file:///FOLDER (default: DYLORA_REMOTE, else that of your profile)";

/** Options of commands that may use results of other machines. */
export const REMOTE_OPTIONS = `
  ${REMOTE}
  --remote-mode MODE{read,write,off}  read: take results from the remote (default); write: also store new ones in it; off`;

/** The remote of a command. */
export interface RemoteSettings {
  readonly url: URL;
  /** Its address without secrets. */
  readonly name: string;
  /** Whether new results are stored in it. */
  readonly writes: boolean;
  /** Public keys whose results are used, besides the user's own. */
  readonly trust: readonly string[];
}

/**
 * The remote of a command; undefined if there is none, or it is off.
 *
 * @param needed The mode of a command that needs a remote.
 * @throws {UsageError} If its address is invalid or, in an option, secret; if a
 * key is invalid, or missing.
 */
export async function remoteSettings(
  args: Arguments,
  needed?: "read" | "write",
  optionName = "remote",
): Promise<RemoteSettings | undefined> {
  const profile = (await readProfile())?.remote;
  const option = args.value(optionName) || undefined;
  const address = option ?? (Deno.env.get("DYLORA_REMOTE") || profile?.url);
  const mode = needed ?? args.value("remote-mode") ?? profile?.mode ?? "read";
  if (mode === "off") return undefined;
  if (address === undefined) {
    const isWanted = needed || args.has("remote-mode") || args.has("remote");
    if (!isWanted) return undefined;
    throw new UsageError(
      "There is no remote: give its address by --remote, or set DYLORA_REMOTE",
    );
  }
  const url = URL.parse(address);
  if (url === null || !/^(https?|s3|file):$/.test(url.protocol)) {
    throw new UsageError(
      "The address of the remote is invalid: expected https://..., s3://BUCKET/PREFIX or file:///FOLDER",
    );
  }
  const name = url.href.replace(/\/\/[^/]*@/, "//").replace(/[?#].*/, "");
  if (option !== undefined && name !== url.href) {
    throw new UsageError(
      `Option "--${optionName}" must not have a password or a query, which lists of processes show: set DYLORA_REMOTE to the address`,
    );
  }
  const named = Deno.env.get("DYLORA_REMOTE_TRUST")?.split(",") ?? [];
  const trust = [...profile?.trust ?? [], ...named.map((it) => it.trim())]
    .filter((it) => it !== "");
  const wrong = trust.find((it) => !isDigest(it));
  if (wrong !== undefined) {
    throw new UsageError(
      `"${wrong}" is not a public key: expected 64 hexadecimal digits, as "deno task cache key" prints them`,
    );
  }
  const writes = mode === "write";
  if (!statIfThere(keyFile())?.isFile && (writes || trust.length === 0)) {
    throw new UsageError(
      writes
        ? 'Results that are stored in a remote are signed: make a key with "deno task cache key"'
        : 'No key is trusted, so no result of the remote can be used: name keys in DYLORA_REMOTE_TRUST or under "remote: trust" in your profile, or make your own with "deno task cache key"',
    );
  }
  return { url, name, writes, trust };
}

/**
 * The file of the user's signing key: `$DYLORA_REMOTE_KEY`, or
 * `dylora/remote-key.json` in the user's configuration folder.
 */
export function keyFile(): string {
  const file = Deno.env.get("DYLORA_REMOTE_KEY") ||
    configFile("remote-key.json");
  if (file !== undefined) return file;
  throw new UsageError("HOME is not set: set DYLORA_REMOTE_KEY to a file");
}

/** Opens a remote. */
export async function openRemote(
  { url, name, writes, trust }: RemoteSettings,
  store: Store,
  note: (text: string) => void,
  signal: AbortSignal,
  continueOnFailure = false,
): Promise<Remote> {
  const [{ Remote }, { openTransport }, { readKey }] = await Promise.all([
    import("../../remote/remote.ts"),
    import("../../remote/open.ts"),
    import("../../remote/signature.ts"),
  ]);
  const key = await readKey(keyFile());
  const trusted = new Set([...key ? [key.signer] : [], ...trust]);
  const reach = { name, isReadOnly: !writes, signal };
  return new Remote(await openTransport(url, reach), store, {
    trusted: [...trusted],
    key: writes ? key : undefined,
    say: note,
    continueOnFailure,
  });
}

/** Milliseconds after which it is said that results are still being stored. */
const SILENCE = 2000;

/**
 * The remote of a run, which is opened, and whose modules are loaded, for the
 * first result that the cache lacks; undefined if there is none.
 *
 * @throws {UsageError} As {@linkcode remoteSettings}.
 */
export async function runRemote(
  args: Arguments,
  store: Store,
  note: (text: string) => void,
  signal = new AbortController().signal,
  needed?: "read",
  optionName?: string,
) {
  const settings = await remoteSettings(args, needed, optionName);
  if (settings === undefined) return undefined;
  const { name, writes } = settings;
  let opened: Promise<Remote> | undefined;
  const open = () => opened ??= openRemote(settings, store, note, signal, true);
  const remote: RemoteResults = {
    name,
    find: async (key) => await (await open()).find(key),
    offer(manifest) {
      if (!writes) return;
      opened = open().then((remote) => {
        remote.offer(manifest);
        return remote;
      });
    },
  };
  return {
    ...remote,
    /**
     * Waits for what is being stored. Undefined if the remote was not needed.
     */
    async end(): Promise<RemoteMessage | undefined> {
      const remote = await opened;
      if (remote === undefined) {
        const words = ["cache", "push", ...args.positionals.slice(0, 1)];
        const push = commandLine(args, words, `${KEY_OPTIONS}\n${REMOTE}`);
        if (writes && !signal.aborted) {
          note(
            `Nothing new to store in ${name}; "${push}" stores what the cache has`,
          );
        }
        return undefined;
      }
      const text = `Storing results in ${name}; Ctrl-C ends that`;
      const timer = writes ? setTimeout(() => note(text), SILENCE) : undefined;
      await remote.end();
      clearTimeout(timer);
      return { type: "remote", remote: name, ...remote.stats };
    },
  };
}

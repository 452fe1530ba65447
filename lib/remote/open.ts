import { basename, fromFileUrl } from "../files/paths.ts";
import { FolderTransport, HttpTransport, type Transport } from "./transport.ts";

/** How the remote at an address is reached. */
interface Connection {
  /** The address without secrets, for messages. */
  readonly name: string;
  /** Whether it is only read, so that a folder must exist. */
  readonly isReadOnly: boolean;
  /** Ends all transfers. */
  readonly signal: AbortSignal;
  /** Milliseconds in which a transfer must make progress. */
  readonly stallTimeout?: number;
}

/** Bytes of a file that is sent as a whole. */
const WHOLE = 16 << 20;

/**
 * Opens the remote at an address: `https:`, `http:`, `s3:` or `file:`. One
 * that ends in `.tar` is a bundle. What gives access comes from the address,
 * `DYLORA_REMOTE_TOKEN` and the variables and files of AWS.
 */
export async function openTransport(
  address: URL,
  reach: Connection,
): Promise<Transport> {
  if (address.pathname.endsWith(".tar")) {
    const folder = new URL(".", address);
    folder.search = address.search;
    const { TarTransport } = await import("./tar.ts");
    const file = decodeURIComponent(basename(address.pathname));
    return new TarTransport(await openTransport(folder, reach), file);
  }
  const { name, isReadOnly, signal, stallTimeout = 10_000 } = reach;
  if (address.protocol === "file:") {
    const root = fromFileUrl(address.href);
    return new FolderTransport(name, isReadOnly, () => Promise.resolve(root));
  }
  if (address.protocol === "s3:") {
    const { S3Transport } = await import("./s3.ts");
    return new S3Transport(address, name, { signal, stallTimeout });
  }
  const { username, password } = address;
  const token = Deno.env.get("DYLORA_REMOTE_TOKEN");
  const user = [username, password].map(decodeURIComponent).join(":");
  const authorization = username !== ""
    ? `Basic ${new TextEncoder().encode(user).toBase64()}`
    : token && `Bearer ${token}`;
  const base = new URL(address);
  base.username = "";
  base.password = "";
  return new HttpTransport(base, name, {
    signal,
    stallTimeout,
    streamed: WHOLE,
    authorize: () => authorization ? { authorization } : {},
  });
}

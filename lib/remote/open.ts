import { removeIfThere } from "../store/files.ts";
import { basename, dirname, fromFileUrl } from "../store/paths.ts";
import {
  FolderTransport,
  HttpTransport,
  RemoteFault,
  type Transport,
} from "./transport.ts";

/** How the remote at an address is reached. */
interface Reach {
  /** The address without secrets, for messages. */
  readonly name: string;
  /** Whether it is only read, so that a folder must exist. */
  readonly isReadOnly: boolean;
  /** Ends all transfers. */
  readonly signal: AbortSignal;
  /** Milliseconds in which a transfer must make progress. */
  readonly patience?: number;
}

/** Bytes of a file that is sent as a whole. */
const WHOLE = 16 << 20;

/**
 * Opens the remote at an address: `https:`, `http:`, `s3:` or `file:`. One
 * that ends in `.tar` is a bundle. What gives access comes from the address, `DYLORA_REMOTE_TOKEN` and the variables
 * and files of AWS.
 */
export async function openTransport(
  address: URL,
  { name, isReadOnly, signal, patience = 10_000 }: Reach,
): Promise<Transport> {
  const isTar = address.pathname.endsWith(".tar");
  if (address.protocol === "file:" && isTar) {
    const { TarTransport } = await import("./tar.ts");
    const path = fromFileUrl(address.href);
    return new TarTransport(name, () => Promise.resolve(path));
  }
  if (address.protocol === "file:") {
    return new FolderTransport(address, name, isReadOnly);
  }
  if (address.protocol === "s3:") {
    const { S3Transport } = await import("./s3.ts");
    return new S3Transport(address, name, { signal, patience });
  }
  const { username, password } = address;
  const token = Deno.env.get("DYLORA_REMOTE_TOKEN");
  const user = [username, password].map(decodeURIComponent).join(":");
  const authorization = username !== ""
    ? `Basic ${new TextEncoder().encode(user).toBase64()}`
    : token
    ? `Bearer ${token}`
    : undefined;
  const base = new URL(address);
  base.username = base.password = "";
  const file = basename(base.pathname);
  if (isTar) base.pathname = dirname(base.pathname);
  const http = new HttpTransport(base, name, {
    signal,
    patience,
    streamed: WHOLE,
    authorize: () =>
      Promise.resolve(authorization === undefined ? {} : { authorization }),
  });
  if (!isTar) return http;
  const { TarTransport } = await import("./tar.ts");
  return new TarTransport(name, () => downloaded(http, file));
}

/** The path of a copy of a file, which lasts as long as this process. */
async function downloaded(from: Transport, file: string): Promise<string> {
  const path = Deno.makeTempFileSync({ prefix: "dylora-", suffix: ".tar" });
  addEventListener("unload", () => removeIfThere(path));
  const found = await from.get(file, async (content) => {
    await Deno.writeFile(path, ReadableStream.from(content));
    return true;
  });
  if (found) return path;
  throw new RemoteFault("does not exist");
}

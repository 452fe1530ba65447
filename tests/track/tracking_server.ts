import { join } from "node:path";

/**
 * Python with TensorBoard and MLflow; undefined without the variable that names
 * it.
 */
export const PYTHON = Deno.env.get("TRACK_PYTHON");

if (PYTHON === undefined) {
  console.log(
    "Tests against TensorBoard and MLflow are skipped: TRACK_PYTHON is not set (tests/track/setup.sh)",
  );
}

/** Milliseconds in which a server must start. */
const PATIENCE = 300_000;

/**
 * The real server of a tracker in a process of its own, with an empty store in
 * a folder.
 */
export class TrackingServer implements AsyncDisposable {
  private constructor(
    readonly url: string,
    readonly process: Deno.ChildProcess,
  ) {}

  /** @param args Arguments of Python, given a free port. */
  static async start(
    args: (port: string) => readonly string[],
    { folder, env, ready }: {
      readonly folder: string;
      readonly env: Readonly<Record<string, string>>;
      /** Path that answers once the server is ready. */
      readonly ready: string;
    },
  ): Promise<TrackingServer> {
    const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
    const port = String((listener.addr as Deno.NetAddr).port);
    listener.close();
    const log = join(folder, "server.log");
    const process = new Deno.Command("sh", {
      args: ["-c", 'exec "$@" > "$0" 2>&1', log, PYTHON!, ...args(port)],
      cwd: folder,
      env: { ...env, HOME: folder, NO_PROXY: "127.0.0.1" },
      stdin: "null",
    }).spawn();
    const server = new TrackingServer(`http://127.0.0.1:${port}`, process);
    let ended = false;
    process.status.then(() => ended = true);
    for (const start = Date.now(); Date.now() < start + PATIENCE;) {
      if (ended) break;
      try {
        const response = await fetch(`${server.url}${ready}`);
        await response.body?.cancel();
        if (response.ok) return server;
      } catch (error) {
        // It does not listen yet.
        if (!(error instanceof TypeError)) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await server[Symbol.asyncDispose]();
    throw new Error(`The server did not start: ${Deno.readTextFileSync(log)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.process.kill("SIGTERM");
    } catch (error) {
      // It has ended already.
      if (!(error instanceof TypeError)) throw error;
    }
    await this.process.status;
  }
}

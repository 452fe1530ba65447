import { InstallError } from "../../pypi/install_error.ts";
import type { WebgpuAdapter } from "../backends/webgpu_adapter.ts";

/** What choosing an engine looks at on this machine; tests put another in its place. */
export interface Host {
  /** `x86_64-unknown-linux-gnu`, as `Deno.build.target`. */
  readonly target: string;
  env(name: string): string | undefined;
  /** True if the file can be seen. */
  exists(path: string): boolean;
  /** Text of a small file; undefined if it cannot be read. */
  read(path: string): string | undefined;
  // These take a process, so they are asked only when it matters.
  /** What a program prints; undefined if it is missing or fails. */
  output(program: string, ...args: string[]): Promise<string | undefined>;
  /** The WebGPU adapter, or undefined. */
  webgpuAdapter(): Promise<WebgpuAdapter | undefined>;
}

/** This machine. */
export const thisHost: Host = {
  target: Deno.build.target,
  env: Deno.env.get,
  exists(path) {
    try {
      Deno.statSync(path);
      return true;
    } catch {
      return false; // Absent, or not to be seen: neither can be used.
    }
  },
  read(path) {
    try {
      return Deno.readTextFileSync(path);
    } catch {
      return undefined; // As above.
    }
  },
  async output(program, ...args) {
    try {
      const { success, stdout } = await new Deno.Command(program, {
        args,
        stdin: "null",
        stderr: "null",
      }).output();
      return success ? new TextDecoder().decode(stdout) : undefined;
    } catch {
      return undefined; // Not installed.
    }
  },
  webgpuAdapter,
};

/** Asks a process of its own, which a broken graphics driver may take down. */
async function webgpuAdapter(): Promise<WebgpuAdapter | undefined> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--no-config",
      new URL("../backends/webgpu_adapter.ts", import.meta.url).href,
    ],
    stdin: "null",
  }).output();
  if (!success) {
    throw new InstallError(
      "unsupported",
      `The graphics driver fails when WebGPU asks for an adapter: ${
        new TextDecoder().decode(stderr).trim().split("\n").at(-1)
      }`,
      "Update the driver, or use another engine",
    );
  }
  return JSON.parse(new TextDecoder().decode(stdout)) ?? undefined;
}

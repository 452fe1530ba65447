import type { Host } from "../../../lib/engine/install/host.ts";
import type { WebgpuAdapter } from "../../../lib/engine/install/probe.ts";

/** A host with these facts; default: Linux x86-64 without any GPU. */
export function fakeHost(
  {
    target = "x86_64-unknown-linux-gnu",
    env = {},
    files = {},
    adapter,
    output,
  }: {
    target?: string;
    env?: Record<string, string>;
    files?: Record<string, string>;
    adapter?: WebgpuAdapter;
    output?: string;
  } = {},
): Host {
  return {
    target,
    env: (name) => ({ HOME: "/home/u", ...env })[name],
    exists: (path) => path in files,
    read: (path) => files[path],
    output: () => Promise.resolve(output),
    webgpuAdapter: () => Promise.resolve(adapter),
  };
}

/** Files of an NVIDIA kernel driver, and of its user-space library. */
export const DRIVER = {
  "/proc/driver/nvidia/version":
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  gcc version 12.2.0\n",
};
export const LIBCUDA = { "/usr/lib/x86_64-linux-gnu/libcuda.so.1": "" };

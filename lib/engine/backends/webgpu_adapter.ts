/** The WebGPU adapter that the runtime prefers. */
export interface WebgpuAdapter {
  /** `llvmpipe (LLVM 19.1.7, 256 bits)` */
  readonly name: string;
  /** True if the processor stands in for a GPU, which is slower than WebAssembly. */
  readonly software: boolean;
}

/** Looks for a WebGPU adapter; undefined if the machine has none. */
export async function webgpuAdapter(): Promise<WebgpuAdapter | undefined> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return undefined;
  const { description, vendor, architecture, device, isFallbackAdapter } =
    adapter.info;
  return {
    name: description ||
      [vendor, architecture, device].filter((part) => part !== "").join(" "),
    software: isFallbackAdapter,
  };
}

if (import.meta.main) {
  console.log(JSON.stringify(await webgpuAdapter() ?? null));
}

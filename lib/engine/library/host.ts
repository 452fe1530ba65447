/** What choosing an engine looks at on this machine; tests put another in its place. */
export interface Host {
  /** `x86_64-unknown-linux-gnu`, as {@linkcode Deno.build.target}. */
  readonly target: string;
  env(name: string): string | undefined;
  /** True if the file can be seen. */
  exists(path: string): boolean;
  /** Text of a small file; undefined if it cannot be read. */
  read(path: string): string | undefined;
  /** Name of the WebGPU adapter; undefined if there is none. Asked only when it matters, since it takes a process. */
  webgpuAdapter(): Promise<string | undefined>;
}

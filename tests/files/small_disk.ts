import { assert } from "@std/assert";

/** A mounted file system of a given size in bytes. */
export class SmallDisk implements Disposable {
  /** Only root can mount a small file system. */
  static readonly isPossible = Deno.build.os === "linux" && Deno.uid() === 0;

  readonly path = Deno.makeTempDirSync({ prefix: "disk-" });

  constructor(size: number) {
    this.#mount("-t", "tmpfs", "-o", `size=${size}`, "tmpfs", this.path);
  }

  makeReadOnly(): void {
    this.#mount("-o", "remount,ro", this.path);
  }

  #mount(...args: string[]): void {
    const { success, stderr } = new Deno.Command("mount", { args })
      .outputSync();
    assert(success, new TextDecoder().decode(stderr));
  }

  [Symbol.dispose](): void {
    new Deno.Command("umount", { args: [this.path] }).outputSync();
    Deno.removeSync(this.path);
  }
}

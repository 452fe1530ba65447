import { join } from "node:path";

/** A temporary folder, removed on disposal. */
export class TemporaryFolder implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "store-" });

  join(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  /** Writes a file and returns its path. */
  write(name: string, text: string): string {
    const path = this.join(name);
    Deno.mkdirSync(join(path, ".."), { recursive: true });
    Deno.writeTextFileSync(path, text);
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

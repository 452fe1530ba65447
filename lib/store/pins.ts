import { lockFile } from "./locks.ts";
import { readSealed, writeSealed } from "./sealed.ts";

/** Results that a clean-up never takes, by key. */
export class Pins {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  read(): Set<string> {
    const sealed = readSealed(this.#path);
    if (sealed.state === "damaged") {
      throw new Error(
        `"${this.#path}" is damaged; remove it and pin again what is to stay`,
      );
    }
    return new Set(
      sealed.state === "whole" ? sealed.value.keys as string[] : [],
    );
  }

  /** Pins the keys, or no longer. */
  async set(keys: readonly string[], pinned: boolean): Promise<void> {
    using _lock = await lockFile(`${this.#path}.lock`);
    const all = this.read();
    for (const key of keys) {
      if (pinned) all.add(key);
      else all.delete(key);
    }
    writeSealed(this.#path, { keys: [...all].sort() });
  }
}

import { fingerprint, settled } from "./fingerprint.ts";
import { quickChecksum } from "./quick_checksum.ts";
import { readSealed, writeSealed } from "./sealed.ts";

/**
 * Remembers with which key the history of each stage of a pipeline begins, as
 * long as nothing is written into the folder of histories: one file in place of
 * one for each stage.
 */
export class LatestKeys {
  readonly #path: string;
  readonly #folder: string;
  /** The state of the folder that is remembered; undefined if a later write might not show in it. */
  readonly #state: string | undefined;
  readonly #keys: Map<string, string>;
  #changed = false;

  /**
   * @param path The file to remember in.
   * @param folder Folder of the histories.
   */
  constructor(path: string, folder: string) {
    this.#path = path;
    this.#folder = folder;
    this.#state = stateOf(folder);
    this.#keys = read(path, this.#state);
  }

  get(stage: string): string | undefined {
    return this.#keys.get(stage);
  }

  /** Takes over what a history was found to begin with. */
  set(stage: string, key: string): void {
    this.#keys.set(stage, key);
    this.#changed = true;
  }

  /** Writes what was found, if no history has been written since it was looked for. */
  save(): void {
    if (!this.#changed || this.#state === undefined) return;
    if (stateOf(this.#folder) !== this.#state) return;
    const keys = Object.fromEntries(this.#keys);
    writeSealed(this.#path, { state: this.#state, keys }, quickChecksum);
  }
}

function stateOf(folder: string): string | undefined {
  const print = fingerprint(folder);
  return print !== undefined && settled(print, Date.now())
    ? `${print.inode} ${print.changed}`
    : undefined;
}

function read(path: string, state: string | undefined): Map<string, string> {
  const sealed = readSealed(path, quickChecksum);
  return sealed.state === "whole" && sealed.value.state === state
    ? new Map(Object.entries(sealed.value.keys as Record<string, string>))
    : new Map();
}

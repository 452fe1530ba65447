/** Counts the seconds that a kind of work takes, with pauses, over all attempts at it. */
export class Stopwatch {
  #before = 0;
  #since: number | undefined;

  /** Counts from now on; does nothing where it counts already. */
  start(): void {
    this.#since ??= performance.now();
  }

  /** Stops counting, until the next start. */
  stop(): void {
    this.#before = this.seconds;
    this.#since = undefined;
  }

  /** Adds seconds that an earlier attempt took. */
  add(seconds: number): void {
    this.#before += seconds;
  }

  /** Seconds counted so far. */
  get seconds(): number {
    const since = this.#since;
    return this.#before +
      (since === undefined ? 0 : (performance.now() - since) / 1000);
  }
}

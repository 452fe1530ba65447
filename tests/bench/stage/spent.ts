/** Processor and wall-clock time that something took, in milliseconds. */
export interface Spent {
  readonly cpu: number;
  readonly wall: number;
  /** Of the wall-clock time, flushes to the disk. */
  readonly flush: number;
}

/** `RUSAGE_SELF` and `RUSAGE_CHILDREN` of `getrusage(2)`. */
const WHO = { self: 0, children: -1 } as const;

const { symbols: libc } = Deno.dlopen("libc.so.6", {
  getrusage: { parameters: ["i32", "buffer"], result: "i32" },
});

/**
 * Processor milliseconds so far: of all threads of this process, or of the
 * processes that it, and those that it started, have waited for.
 */
function processorTime(who: keyof typeof WHO): number {
  const usage = new BigInt64Array(18);
  if (libc.getrusage(WHO[who], usage) !== 0) {
    throw new Error("getrusage() fails");
  }
  const [seconds, micros, systemSeconds, systemMicros] = usage;
  return Number(seconds! + systemSeconds!) * 1e3 +
    Number(micros! + systemMicros!) / 1e3;
}

/**
 * Times something that this process does, or the processes that it starts.
 * Flushes are those of this process.
 */
export async function spend(
  who: keyof typeof WHO,
  work: () => unknown,
): Promise<Spent> {
  const flushed = new Flushed();
  const cpu = processorTime(who);
  const start = performance.now();
  await work();
  const wall = performance.now() - start;
  flushed.end();
  return { wall, cpu: processorTime(who) - cpu, flush: flushed.wall };
}

/**
 * Times the calls of `fsync(2)` by which this process flushes files to the
 * disk.
 */
class Flushed {
  wall = 0;
  readonly #sync = Deno.FsFile.prototype.sync;
  readonly #syncSync = Deno.FsFile.prototype.syncSync;

  constructor() {
    const sync = this.#sync;
    const syncSync = this.#syncSync;
    const add = (start: number) => this.wall += performance.now() - start;
    Deno.FsFile.prototype.syncSync = function () {
      const start = performance.now();
      syncSync.call(this);
      add(start);
    };
    Deno.FsFile.prototype.sync = async function () {
      const start = performance.now();
      await sync.call(this);
      add(start);
    };
  }

  end(): void {
    Deno.FsFile.prototype.sync = this.#sync;
    Deno.FsFile.prototype.syncSync = this.#syncSync;
  }
}

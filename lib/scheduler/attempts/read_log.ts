import { setTimeout as sleep } from "node:timers/promises";
import type { Store } from "../../store/store.ts";
import type { Event } from "../events.ts";
import { isWritten, liveRuns } from "./live.ts";

/** An event of a stage's run, and the seconds since its start. */
export type LogLine = Event & { readonly at: number };

/** Milliseconds between two looks at a log that is followed. */
const PAUSE = 100;

/** Where a stage's log is found: of the run that goes on, else of the last. */
export interface FoundLog {
  readonly from: "live" | "failed" | "result";
  readonly path: string;
}

/** Finds the log of a stage's last run; undefined if it never ran. */
export function findLog(
  pipeline: string,
  stage: string,
  store: Store,
): FoundLog | undefined {
  const live = liveRuns(store).find((run) =>
    run.pipeline === pipeline && run.stage === stage
  );
  if (live !== undefined) return { from: "live", path: live.log };
  const { keys, failure } = store.histories.read(pipeline, stage);
  if (failure !== undefined) return { from: "failed", path: failure.log };
  for (const key of keys) {
    const found = store.manifests.read(key);
    if (found.state === "found") {
      return {
        from: "result",
        path: store.blobs.path(found.manifest.log.blob),
      };
    }
  }
  return undefined;
}

/**
 * The lines of a log. With `follow`, lines that are still being written are
 * waited for, until the run ends.
 *
 * @throws {Error} If the log is no longer there, or damaged.
 */
export async function* readLog(
  found: FoundLog,
  follow: boolean,
  signal?: AbortSignal,
): AsyncGenerator<LogLine> {
  using file = await openFound(found);
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(1 << 16);
  let rest = "";
  for (;;) {
    const ended = !follow || found.from !== "live" || !isWritten(found.path);
    for (;;) {
      const size = await file.read(buffer);
      if (size === null) break;
      const lines = (rest + decoder.decode(buffer.subarray(0, size), {
        stream: true,
      })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) yield parseLine(line, found);
    }
    if (ended || signal?.aborted) return;
    await sleep(PAUSE);
  }
}

async function openFound({ from, path }: FoundLog): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      from === "live"
        ? "The stage has just ended; ask again for its log"
        : `The log "${path}" is gone; run the stage again to have one`,
      { cause: error },
    );
  }
}

function parseLine(line: string, { path }: FoundLog): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch (error) {
    throw new Error(
      `The log "${path}" is damaged: run the stage again to have one`,
      { cause: error },
    );
  }
}

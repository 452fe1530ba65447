import { assert } from "@std/assert";
import { setTimeout as sleep } from "node:timers/promises";
import type { Event } from "../../lib/scheduler/events.ts";
import { signal } from "../../lib/scheduler/executors/local.ts";
import { SchedulerProcess } from "../scheduler/project.ts";

/** Milliseconds without an event after which a run hangs. */
const SILENCE = 30_000;

/** A run of the command line, which must not hang. */
export class SoakRun extends SchedulerProcess {
  /** What it writes to standard error. */
  readonly #errors: Promise<string>;

  constructor(process: Deno.ChildProcess) {
    super(process);
    this.#errors = new Response(process.stderr).text();
  }

  override async end(): Promise<Event | undefined> {
    let seen = -1;
    let hangs = false;
    const timer = setInterval(() => {
      if (seen === this.events.length) {
        hangs = true;
        signal(this.process.pid, "SIGKILL");
      }
      seen = this.events.length;
    }, SILENCE);
    const last = await super.end();
    clearInterval(timer);
    assert(!hangs, `a run hangs after ${JSON.stringify(last)}`);
    return last;
  }

  /** Waits for an event, or for the end. */
  async until(wanted: (event: Event) => boolean): Promise<void> {
    const ended = this.end();
    // It rejects if the run ends before the event, as one with nothing to do
    // does.
    await this.event(wanted).catch(() => ended);
  }

  /** Waits for the end of a run that may fail, and checks that it says why. */
  async endInWords(): Promise<void> {
    const last = await this.end();
    const { code } = await this.process.status;
    const messages = this.events.flatMap((event) =>
      event.type === "failed" ? [event.message] : []
    );
    const errors = await this.#errors;
    const isDone = last?.type === "summary" && last.failed === 0;
    if (!isDone) {
      assert(code !== 0, `exit code 0 after ${JSON.stringify(last)}`);
      assert(errors.length + messages.length > 0, "fails without a word");
    }
    for (const message of [errors, ...messages]) {
      assert(!/^ +at .*:\d+/m.test(message), `a stack trace: ${message}`);
    }
  }
}

/** PIDs of all processes with the folder in their arguments or environment. */
export function processesOf(folder: string): number[] {
  return [...Deno.readDirSync("/proc")]
    .filter(({ name }) => /^\d+$/.test(name) && Number(name) !== Deno.pid)
    .filter(({ name }) => {
      const about = ["cmdline", "environ"].map((file) =>
        readIfThere(`/proc/${name}/${file}`)
      );
      return about.some((text) => text.includes(folder));
    })
    .map(({ name }) => Number(name));
}

/**
 * Waits until these processes have ended; returns those that have not after
 * half a minute.
 */
export async function orphansOf(folder: string): Promise<number[]> {
  for (let tries = 0; tries < 600; tries++) {
    if (processesOf(folder).length === 0) return [];
    await sleep(50);
  }
  return processesOf(folder);
}

function readIfThere(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    // The process has just ended, or belongs to the kernel.
    if (error instanceof Error) return "";
    throw error;
  }
}

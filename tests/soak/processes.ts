import { setTimeout as sleep } from "node:timers/promises";

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

/** Waits until these processes have ended; returns those that have not after five seconds. */
export async function orphansOf(folder: string): Promise<number[]> {
  for (let tries = 0; tries < 100; tries++) {
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

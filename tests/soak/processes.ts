import { setTimeout as sleep } from "node:timers/promises";

/** Ids of all living processes that name the folder in their arguments or environment. */
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

/** Waits for the last of these to end; gives those that do not within five seconds. */
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
    // A process may end, or be the kernel's own, while it is looked at.
    if (error instanceof Error) return "";
    throw error;
  }
}

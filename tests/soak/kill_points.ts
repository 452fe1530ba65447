import { assert, assertEquals } from "@std/assert";
import { readIfThere } from "../../lib/files/files.ts";
import type { TestProject } from "../scheduler/project.ts";
import { orphansOf } from "./processes.ts";
import { stagesOf, TEXTS, wordProject } from "./word_project.ts";

/** System calls that change the disk; the first one commits. */
const CALLS = ["rename", "unlinkat", "mkdir", "fsync", "linkat"];

/**
 * Kills a run at its first `rename`, at its second, and so on to its last; then
 * likewise for other system calls. After each kill, every visible output must
 * be the old or the new one, or missing, the next run must succeed, and no
 * process or folder may be left.
 *
 * @param all False to kill at the calls that commit only.
 * @returns Number of kills by system call; undefined if `strace` is not
 * installed.
 */
export async function killAtEveryPoint(
  all: boolean,
): Promise<Record<string, number> | undefined> {
  if (!hasStrace()) return undefined;
  using project = wordProject();
  let word = 0;
  await project.run(stagesOf("w0"));
  const kills: Record<string, number> = {};
  for (const call of all ? CALLS : CALLS.slice(0, 1)) {
    for (let point = 1;; point++) {
      const [before, after] = [`w${word}`, `w${++word}`];
      const killed = await runKilled(project, after, call, point);
      const where = `${call} ${point}`;
      assertEquals(await orphansOf(project.path("out")), [], where);
      for (const [stage, textOf] of Object.entries(TEXTS)) {
        // Killed after the old output was removed, it has not renamed the new
        // one yet.
        const text = readIfThere(project.path("out/test", stage, "out.txt"));
        const texts = [undefined, textOf(before), textOf(after)];
        assert(texts.includes(text), where);
      }
      const { summary } = await project.run(stagesOf(after));
      assertEquals(summary.failed + summary.skipped, 0, where);
      for (const [stage, textOf] of Object.entries(TEXTS)) {
        const text = project.read("out/test", stage, "out.txt");
        assertEquals(text, textOf(after), where);
      }
      if (!killed) break;
      kills[call] = point;
    }
    assertEquals(namesIn(project.path("out/test")), Object.keys(TEXTS));
    assertEquals(namesIn(project.path("out/cache/runs")), []);
  }
  return kills;
}

/**
 * Runs the stages in a process that is killed at the n-th call of a system
 * call; false if there is no n-th call.
 */
async function runKilled(
  project: TestProject,
  word: string,
  call: string,
  point: number,
): Promise<boolean> {
  const within = ["strace", "-qq", "-o", "/dev/null"];
  within.push("-e", `inject=${call}:signal=KILL:when=${point}`);
  const last = await project.spawn(stagesOf(word), {}, within).end();
  return last?.type !== "summary";
}

/** Names in a folder, sorted. */
export function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** Whether strace is installed. */
export function hasStrace(): boolean {
  try {
    return new Deno.Command("strace", { args: ["-V"], stdout: "null" })
      .outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

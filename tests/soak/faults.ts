import { existsSync } from "node:fs";
import { join } from "node:path";
import { signal } from "../../lib/scheduler/executors/local.ts";
import type { SoakPipeline } from "./pipeline.ts";

/** Where a fault is brought about. */
export interface Site {
  readonly pipeline: SoakPipeline;
  /** Folder of the outputs and the cache. */
  readonly out: string;
  /** Runs all stages to the end. */
  readonly run: () => Promise<void>;
}

/**
 * Something that happens to the sources, the disk or the machine of a pipeline.
 */
interface Fault {
  readonly name: string;
  /** What it needs. */
  readonly needs?: readonly (keyof typeof NEEDS)[];
  /** Whether runs may fail until it is undone; they must say why. */
  readonly mayFail?: true;
  /** Brings it about; returns a function that undoes it. */
  begin(site: Site): void | Undo | Promise<void | Undo>;
}

type Undo = () => void | Promise<void>;

/** What a machine must have for some faults. */
const NEEDS = {
  "Linux": () => Deno.build.os === "linux",
  "the right to mount": canMount,
} satisfies Record<string, () => boolean>;

const FAULTS: readonly Fault[] = [
  {
    name: "the disk is full",
    needs: ["the right to mount"],
    mayFail: true,
    begin({ out }) {
      Deno.mkdirSync(out, { recursive: true });
      mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", out);
      return () => unmount(out);
    },
  },
  {
    name: "the disk is read-only",
    needs: ["the right to mount"],
    mayFail: true,
    begin({ out }) {
      Deno.mkdirSync(out, { recursive: true });
      mount("--bind", out, out);
      mount("-o", "remount,bind,ro", out);
      return () => unmount(out);
    },
  },
  {
    name: "two sources exchange their names",
    begin({ pipeline }) {
      const [a, b] = pipeline.sourcePaths as [string, string];
      Deno.renameSync(a, `${a}.old`);
      Deno.renameSync(b, a);
      Deno.renameSync(`${a}.old`, b);
    },
  },
  {
    name: "no ps, and a run that was killed",
    needs: ["Linux"],
    async begin({ pipeline, out }) {
      const programs = pipeline.project.path("programs");
      Deno.mkdirSync(programs, { recursive: true });
      for (const folder of pathFolders()) {
        for (const { name } of Deno.readDirSync(folder)) {
          if (name === "ps") continue;
          linkUnlessThere(join(folder, name), join(programs, name));
        }
      }
      pipeline.env.PATH = programs;
      pipeline.changeSource();
      const run = pipeline.spawn(out);
      await run.until(({ type }) => type === "started");
      if (run.events.at(-1)?.type !== "summary") {
        signal(run.process.pid, "SIGKILL");
      }
      await run.end();
      return () => {
        delete pipeline.env.PATH;
        Deno.removeSync(programs, { recursive: true });
      };
    },
  },
];

/** The faults that this machine can have. */
export function possibleFaults(): readonly Fault[] {
  return FAULTS.filter(({ needs = [] }) => needs.every((it) => NEEDS[it]()));
}

/** The faults that this machine cannot have, each with what it lacks. */
export function impossibleFaults(): string[] {
  return FAULTS.flatMap(({ name, needs = [] }) => {
    const lacking = needs.filter((it) => !NEEDS[it]());
    return lacking.length > 0 ? [`${name} (needs ${lacking.join(", ")})`] : [];
  });
}

function mount(...args: string[]): void {
  call("mount", ...args);
}

function unmount(folder: string): void {
  call("umount", folder);
}

/**
 * Whether this user may mount file systems here, which root may not in most
 * containers.
 */
function canMount(): boolean {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const folder = Deno.makeTempDirSync();
  const run = (program: string, ...args: string[]) =>
    new Deno.Command(program, { args, stderr: "null" }).outputSync().success;
  const can = run("mount", "-t", "tmpfs", "tmpfs", folder) &&
    run("umount", folder);
  Deno.removeSync(folder);
  return can;
}

/** Runs a program, which must succeed. */
function call(program: string, ...args: string[]): void {
  const { success, stderr } = new Deno.Command(program, {
    args,
    stdout: "null",
  }).outputSync();
  if (success) return;
  const reason = new TextDecoder().decode(stderr);
  throw new Error(`${program} ${args.join(" ")}: ${reason}`);
}

/** Folders of programs that exist. */
function pathFolders(): string[] {
  return (Deno.env.get("PATH") ?? "").split(":").filter(existsSync);
}

function linkUnlessThere(target: string, path: string): void {
  try {
    Deno.symlinkSync(target, path);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}

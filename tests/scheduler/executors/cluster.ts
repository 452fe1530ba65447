import { join } from "node:path";
import { linesOf } from "../../../lib/scheduler/process.ts";

/** What a real Slurm consists of. */
const PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue"];

/** True if Slurm is installed; otherwise tests that need it are ignored. */
export const HAS_SLURM = Deno.build.os === "linux" && Deno.uid() === 0 &&
  PROGRAMS.every((name) =>
    ["/usr/sbin", "/usr/bin"].some((folder) => exists(join(folder, name)))
  );

/**
 * Runs the daemons until its standard input closes, which it does when the
 * tests end for whatever reason, and then ends them and what is left of jobs.
 */
const KEEPER = `
trap : TERM INT HUP
cd "$1"
munged --force --foreground --socket="$1/munge.sock" --key-file="$1/munge.key" \
  --pid-file="$1/munged.pid" --log-file="$1/munged.log" --seed-file="$1/munged.seed" &
munged=$!
until [ -S munge.sock ]; do sleep 0.02; done
slurmctld -f "$1/slurm.conf"
for node in $NODES; do slurmd -f "$1/slurm.conf" -N $node; done
echo started
cat >/dev/null
for pid in slurmctld.pid slurmd-*.pid; do kill -KILL $(cat $pid); done
kill -KILL $munged
for environment in $(grep -ls "$1" /proc/[0-9]*/environ); do
  pid=\${environment#/proc/}
  kill -KILL \${pid%/environ}
done
`;

/** Nodes of a cluster. All are this machine; each has its own daemon. */
const NODES = ["n1", "n2", "n3"];

/** A real Slurm on the loopback interface, with ports and folders of its own. */
export class Cluster implements AsyncDisposable {
  readonly folder: string;
  readonly #keeper: Deno.ChildProcess;
  readonly #before: string | undefined;

  private constructor(folder: string, keeper: Deno.ChildProcess) {
    this.folder = folder;
    this.#keeper = keeper;
    this.#before = Deno.env.get("SLURM_CONF");
    Deno.env.set("SLURM_CONF", this.#conf);
  }

  get #conf(): string {
    return join(this.folder, "slurm.conf");
  }

  /** Starts a cluster and makes it the one that Slurm's commands use. */
  static async start(): Promise<Cluster> {
    const folder = Deno.makeTempDirSync({ prefix: "slurm-" });
    Deno.chmodSync(folder, 0o755);
    for (const name of ["state", ...NODES.map((node) => `spool-${node}`)]) {
      Deno.mkdirSync(join(folder, name));
    }
    Deno.writeFileSync(
      join(folder, "munge.key"),
      crypto.getRandomValues(new Uint8Array(1024)),
      { mode: 0o600 },
    );
    Deno.writeTextFileSync(
      join(folder, "cgroup.conf"),
      "CgroupPlugin=disabled\n",
    );
    Deno.writeTextFileSync(join(folder, "slurm.conf"), configuration(folder));
    const keeper = new Deno.Command("sh", {
      args: ["-c", KEEPER, "cluster", folder],
      env: {
        NODES: NODES.join(" "),
        PATH: `${Deno.env.get("PATH")}:/usr/sbin`,
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
      detached: true,
    }).spawn();
    const lines = linesOf(keeper.stdout);
    await lines.next();
    const cluster = new Cluster(folder, keeper);
    await cluster.until(async () => {
      const states = await slurm("sinfo", "--noheader", "--format=%T %D");
      return /^idle 3$/m.test(states);
    });
    return cluster;
  }

  /** Kills the controller, once it has saved the jobs that it knows. */
  async killController(): Promise<void> {
    const state = join(this.folder, "state", "job_state");
    const now = Date.now();
    // It saves only what has changed since it last did.
    const hold = ["--parsable", "--hold", "--output=/dev/null", "--wrap=:"];
    const held = await slurm("sbatch", ...hold);
    await this.until(() =>
      exists(state) && Deno.statSync(state).mtime!.getTime() > now
    );
    await slurm("scancel", held.trim());
    const pid = Deno.readTextFileSync(join(this.folder, "slurmctld.pid"));
    Deno.kill(Number(pid), "SIGKILL");
  }

  /** Starts the controller again. */
  async startController(): Promise<void> {
    await new Deno.Command("/usr/sbin/slurmctld", {
      args: ["-f", this.#conf],
      stdout: "null",
      stderr: "null",
    }).output();
  }

  /** Waits until a condition holds. */
  async until(condition: () => Promise<boolean> | boolean): Promise<void> {
    for (let tries = 0; !await condition(); tries++) {
      if (tries === 300) {
        const state = await slurm("sinfo", "--long", "--Node") +
          await slurm("squeue", "--states=all");
        throw new Error(`Waited for 30 s in vain:\n${state}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Numbers of all jobs and arrays that were submitted. */
  async submitted(): Promise<string[]> {
    const text = await slurm(
      "squeue",
      "--noheader",
      "--states=all",
      "--format=%F",
    );
    return [...new Set(text.split("\n").filter((it) => it !== ""))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#before === undefined) Deno.env.delete("SLURM_CONF");
    else Deno.env.set("SLURM_CONF", this.#before);
    await this.#keeper.stdin.close();
    await this.#keeper.status;
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/**
 * Puts a script in place of one of Slurm's commands. The script finds the
 * command itself in `$REAL` and a folder of its own in `$HERE`.
 */
export function shadow(command: string, script: string): Disposable {
  const folder = Deno.makeTempDirSync({ prefix: "shadow-" });
  const path = join(folder, command);
  Deno.writeTextFileSync(
    path,
    `#!/bin/bash\nHERE=${folder} REAL=/usr/bin/${command}\n${script}\n`,
  );
  Deno.chmodSync(path, 0o755);
  const before = Deno.env.get("PATH")!;
  Deno.env.set("PATH", `${folder}:${before}`);
  return {
    [Symbol.dispose]() {
      Deno.env.set("PATH", before);
      Deno.removeSync(folder, { recursive: true });
    },
  };
}

/** Runs a command of Slurm and returns its output. */
export async function slurm(
  command: string,
  ...args: string[]
): Promise<string> {
  const { stdout } = await new Deno.Command(command, { args, stderr: "null" })
    .output();
  return new TextDecoder().decode(stdout);
}

function configuration(folder: string): string {
  const host = Deno.hostname().split(".")[0];
  const ports = freePorts(NODES.length + 1);
  return `ClusterName=test
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=${folder}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool-%n
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/slurmd-%n.pid
SlurmctldLogFile=${folder}/slurmctld.log
SlurmdLogFile=${folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
MaxArraySize=9
KillWait=2
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
${
    NODES.map((node, i) =>
      `NodeName=${node} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${
        ports[i + 1]
      } CPUs=4 RealMemory=8000 Features=${node} State=UNKNOWN`
    ).join("\n")
  }
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=other Nodes=n3 MaxTime=INFINITE PriorityTier=10 State=UP
PartitionName=low Nodes=n3 MaxTime=INFINITE PriorityTier=1 State=UP
`;
}

function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map(({ addr }) => (addr as Deno.NetAddr).port);
  for (const listener of listeners) listener.close();
  return ports;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

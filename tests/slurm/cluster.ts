import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setEnvironment } from "../environment.ts";

/** What a real Slurm consists of. */
const PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue"];

/** True if Slurm is installed; otherwise tests that need it are ignored. */
export const HAS_SLURM = Deno.build.os === "linux" && Deno.uid() === 0 &&
  PROGRAMS.every((name) =>
    ["/usr/sbin", "/usr/bin"].some((folder) => existsSync(join(folder, name)))
  );

let running: Promise<Cluster> | undefined;

/**
 * A test that needs Slurm. It is reported as ignored where Slurm is not
 * installed, or if `only` is false.
 */
export function slurmTest(
  name: string,
  run: (cluster: Cluster) => Promise<void>,
  only = true,
): void {
  Deno.test(name, { ignore: !HAS_SLURM || !only }, async () => {
    await run(await (running ??= Cluster.start()));
  });
}

/**
 * Runs the daemons of the cluster in folder $1 until process $2 has ended for
 * whatever reason, and then ends them and what is left of jobs.
 */
const KEEPER = `
cd "$1"
munged --force --foreground --socket="$1/munge.sock" --key-file="$1/munge.key" \
  --pid-file="$1/munged.pid" --log-file="$1/munged.log" --seed-file="$1/munged.seed" &
munged=$!
until [ -S munge.sock ]; do sleep 0.02; done
slurmctld -f "$1/slurm.conf"
for node in $NODES; do slurmd -f "$1/slurm.conf" -N $node; done
tail --pid="$2" --sleep-interval=0.2 --follow /dev/null
for pid in slurmctld.pid slurmd-*.pid; do kill -KILL $(cat $pid); done
kill -KILL $munged
for environment in $(grep -ls "$1" /proc/[0-9]*/environ); do
  pid=\${environment#/proc/}
  kill -KILL \${pid%/environ}
done
cd / && rm -rf "$1"
`;

/** Nodes of a cluster. All are this machine; each has its own daemon. */
const NODES = ["n1", "n2", "n3", "n4"];

/** Numbers of the GPUs of n3. */
const GPUS = [0, 1];

/**
 * A real Slurm on the loopback interface, with ports and folders of its own.
 */
export class Cluster {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  get #conf(): string {
    return join(this.folder, "slurm.conf");
  }

  /**
   * Makes a cluster the one that Slurm's commands use. The first call in this
   * process starts it, and it ends with the process; files of tests share it.
   *
   * @param maxArraySize `MaxArraySize`; the default is small enough for tests
   * to reach.
   */
  static async start(maxArraySize = 9): Promise<Cluster> {
    const prefix = `slurm-${Deno.pid}-`;
    const folder = dirname(Deno.env.get("SLURM_CONF") ?? "");
    if (basename(folder).startsWith(prefix)) return new Cluster(folder);
    const cluster = new Cluster(Deno.makeTempDirSync({ prefix }));
    Deno.env.set("SLURM_CONF", cluster.#conf);
    await cluster.#startDaemons(maxArraySize);
    return cluster;
  }

  async #startDaemons(maxArraySize: number): Promise<void> {
    const { folder } = this;
    Deno.chmodSync(folder, 0o755);
    for (const name of ["state", ...NODES.map((node) => `spool-${node}`)]) {
      Deno.mkdirSync(join(folder, name));
    }
    const write = (name: string, text: string) =>
      Deno.writeTextFileSync(join(folder, name), text);
    Deno.writeFileSync(
      join(folder, "munge.key"),
      crypto.getRandomValues(new Uint8Array(1024)),
      { mode: 0o600 },
    );
    write("cgroup.conf", "CgroupPlugin=disabled\n");
    write("slurm.conf", configuration(folder, maxArraySize));
    // Slurm takes any character device for a GPU.
    for (const gpu of GPUS) {
      Deno.symlinkSync("/dev/null", join(folder, `nvidia${gpu}`));
    }
    write(
      "gres.conf",
      `NodeName=n3 Name=gpu File=${folder}/nvidia[${GPUS.join()}]\n`,
    );
    // In a session of its own, it also outlives a Ctrl-C in the terminal of the
    // tests.
    await new Deno.Command("sh", {
      args: [
        "-c",
        'env -u SLURM_CONF setsid sh -c "$0" keeper "$@" </dev/null >"$1/keeper.log" 2>&1 &',
        KEEPER,
        folder,
        String(Deno.pid),
      ],
      env: {
        NODES: NODES.join(" "),
        PATH: `${Deno.env.get("PATH")}:/usr/sbin`,
      },
    }).output();
    await this.until(async () => {
      const states = await slurm("sinfo", "--noheader", "--format=%T %D");
      return new RegExp(`^idle ${NODES.length}$`, "m").test(states);
    });
  }

  /** Kills the controller, once it has saved the jobs that it knows. */
  async killController(): Promise<void> {
    const state = join(this.folder, "state", "job_state");
    const now = Date.now();
    // It saves only what has changed since it last did.
    const hold = ["--parsable", "--hold", "--output=/dev/null", "--wrap=:"];
    const held = await slurm("sbatch", ...hold);
    await this.until(() =>
      existsSync(state) && Deno.statSync(state).mtime!.getTime() > now
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
      if (tries === 1200) {
        const state = await slurm("sinfo", "--long", "--Node") +
          await slurm("squeue", "--states=all");
        throw new Error(`Waited for two minutes in vain:\n${state}`);
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
  const changed = setEnvironment({ PATH: `${folder}:${Deno.env.get("PATH")}` });
  return {
    [Symbol.dispose]() {
      changed[Symbol.dispose]();
      Deno.removeSync(folder, { recursive: true });
    },
  };
}

/** Hides one of Slurm's commands, as where Slurm is not installed. */
export function hide(command: string): Disposable {
  const folder = Deno.makeTempDirSync({ prefix: "hidden-" });
  const names = new Set<string>();
  for (const programs of Deno.env.get("PATH")!.split(":").filter(existsSync)) {
    for (const { name } of Deno.readDirSync(programs)) {
      if (name === command || names.has(name)) continue;
      names.add(name);
      Deno.symlinkSync(join(programs, name), join(folder, name));
    }
  }
  const changed = setEnvironment({ PATH: folder });
  return {
    [Symbol.dispose]() {
      changed[Symbol.dispose]();
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

function configuration(folder: string, maxArraySize: number): string {
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
DefMemPerCPU=500
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
MaxArraySize=${maxArraySize}
KillWait=2
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
${
    NODES.map((node, i) =>
      `NodeName=${node} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${
        ports[i + 1]
      } CPUs=4 RealMemory=8000 Features=${node}${
        node === "n3" ? ` Gres=gpu:${GPUS.length}` : ""
      } State=UNKNOWN`
    ).join("\n")
  }
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=other Nodes=n3 MaxTime=INFINITE PriorityTier=10 State=UP
PartitionName=low Nodes=n3 MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=frail Nodes=n4 MaxTime=INFINITE State=UP
`;
}

/** Free ports below those that the system gives to connections. */
function freePorts(count: number): number[] {
  const ports: number[] = [];
  // Other processes that start a cluster now look elsewhere.
  const first = 10_000 + (Deno.pid * 2 * count) % 20_000;
  for (let port = first; ports.length < count; port++) {
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      ports.push(port);
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  return ports;
}

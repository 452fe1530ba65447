import { join } from "node:path";
import { parentOf, stagesOf } from "./shape.ts";
import {
  append,
  flat,
  installed,
  removeOutputs,
  takeRan,
  type Tool,
  writeScripts,
} from "./tool.ts";

/** The other tools to compare with, as `setup.sh` installed them. */
export function peers(tools: string): Tool[] {
  return [ninja(tools), turborepo(tools), dvc(tools), snakemake(tools)];
}

/** Common parts of tools that call a shell script for each stage. */
const scripted = {
  comment: (folder: string, round: number) =>
    append(folder, "s0.sh", `# ${round}\n`),
  edit: (folder: string, round: number) =>
    append(folder, "s0.sh", `true ${round}\n`),
  clean: removeOutputs,
  ran: takeRan,
};

/**
 * Deno's own tasks with `files` and `output`, cached in a folder of the
 * project.
 */
export const denoTask: Tool = {
  name: "deno task",
  ...scripted,
  command: [Deno.execPath(), "task", "--quiet", "--jobs", "2", "all"],
  env: { DENO_DIR: "deno-dir" },
  prepare(folder, count) {
    writeScripts(folder, count, flat);
    Deno.mkdirSync(join(folder, "out"));
    const tasks = stagesOf(count).map((stage) => {
      const { script, input, output } = flat(stage);
      const parent = parentOf(stage);
      return [`s${stage}`, {
        command: `sh ${script}`,
        dependencies: parent === undefined ? [] : [`s${parent}`],
        files: [input, script],
        output: [output],
      }] as const;
    });
    const all = { dependencies: tasks.map(([name]) => name) };
    Deno.writeTextFileSync(
      join(folder, "deno.json"),
      JSON.stringify({ tasks: { ...Object.fromEntries(tasks), all } }),
    );
  },
};

function ninja(tools: string): Tool {
  return {
    name: "ninja",
    ...scripted,
    command: [installed(tools, "ninja"), "-j", "2"],
    prepare(folder, count) {
      // The old result is replaced only if the new one differs, for `restat`.
      writeScripts(folder, count, (stage) => ({
        ...flat(stage),
        output: `out/${stage}.new`,
      }));
      const builds = stagesOf(count).map((stage) => {
        const { script, input, output } = flat(stage);
        return `build ${output}: stage ${input} ${script}
  script = ${script}
  fresh = out/${stage}.new
`;
      });
      Deno.writeTextFileSync(
        join(folder, "build.ninja"),
        `rule stage
  command = sh $script && (cmp -s $out $fresh || cp $fresh $out)
  restat = 1
${builds.join("")}`,
      );
    },
  };
}

function dvc(tools: string): Tool {
  return {
    name: "DVC",
    ...scripted,
    command: [installed(tools, "dvc"), "repro", "--quiet"],
    env: { DVC_NO_ANALYTICS: "1" },
    prepare(folder, count) {
      writeScripts(folder, count, flat);
      const stages = stagesOf(count).map((stage) => {
        const { script, input, output } = flat(stage);
        return `  s${stage}:
    cmd: mkdir -p out && sh ${script}
    deps: [${input}, ${script}]
    outs: [${output}]
`;
      });
      Deno.writeTextFileSync(
        join(folder, "dvc.yaml"),
        `stages:\n${stages.join("")}`,
      );
      const { success } = new Deno.Command(installed(tools, "dvc"), {
        args: ["init", "--no-scm", "--quiet"],
        cwd: folder,
      }).outputSync();
      if (!success) throw new Error("dvc init failed");
    },
  };
}

function snakemake(tools: string): Tool {
  return {
    name: "Snakemake",
    ...scripted,
    command: [installed(tools, "snakemake"), "--cores", "2", "--quiet", "all"],
    prepare(folder, count) {
      writeScripts(folder, count, flat);
      const rules = stagesOf(count).map((stage) => {
        const { script, input, output } = flat(stage);
        return `rule s${stage}:
    input: "${input}", "${script}"
    output: "${output}"
    shell: "sh ${script}"
`;
      });
      const all = stagesOf(count).map((stage) => `"${flat(stage).output}"`);
      Deno.writeTextFileSync(
        join(folder, "Snakefile"),
        `rule all:\n    input: ${all.join(", ")}\n${rules.join("")}`,
      );
    },
  };
}

/** A package for each stage, as Turborepo caches by package. */
function turborepo(tools: string): Tool {
  const place = (stage: number) => `packages/p${stage}`;
  return {
    name: "Turborepo",
    command: [
      join(tools, "node_modules/.bin/turbo"),
      "run",
      "build",
      "--output-logs=none",
      "--concurrency=2",
    ],
    env: { TURBO_TELEMETRY_DISABLED: "1", DO_NOT_TRACK: "1" },
    comment: (folder, round) =>
      append(folder, `${place(0)}/build.sh`, `# ${round}\n`),
    edit: (folder, round) =>
      append(folder, `${place(0)}/build.sh`, `true ${round}\n`),
    ran: takeRan,
    clean(folder) {
      for (const { name } of [...Deno.readDirSync(join(folder, "packages"))]) {
        Deno.removeSync(join(folder, "packages", name, "out.txt"));
      }
    },
    prepare(folder, count) {
      const write = (path: string, value: unknown) =>
        Deno.writeTextFileSync(join(folder, path), JSON.stringify(value));
      writeScripts(folder, count, (stage) => {
        const parent = parentOf(stage);
        return {
          script: `${place(stage)}/build.sh`,
          input: parent === undefined
            ? "../../input.txt"
            : `../p${parent}/out.txt`,
          output: "out.txt",
        };
      });
      const packages: Record<string, unknown> = {
        "": { name: "bench", workspaces: ["packages/*"] },
      };
      for (const stage of stagesOf(count)) {
        const parent = parentOf(stage);
        const manifest = {
          name: `p${stage}`,
          version: "1.0.0",
          scripts: { build: "sh build.sh" },
          dependencies: parent === undefined ? {} : { [`p${parent}`]: "*" },
        };
        write(`${place(stage)}/package.json`, manifest);
        packages[place(stage)] = manifest;
        packages[`node_modules/p${stage}`] = {
          resolved: place(stage),
          link: true,
        };
      }
      write("package.json", {
        name: "bench",
        private: true,
        packageManager: "npm@10.0.0",
        workspaces: ["packages/*"],
      });
      write("package-lock.json", {
        name: "bench",
        lockfileVersion: 3,
        requires: true,
        packages,
      });
      // Otherwise it treats a package's output as one of its inputs.
      Deno.writeTextFileSync(join(folder, ".gitignore"), "out.txt\n.turbo\n");
      write("turbo.json", {
        globalDependencies: ["input.txt"],
        tasks: { build: { dependsOn: ["^build"], outputs: ["out.txt"] } },
      });
    },
  };
}

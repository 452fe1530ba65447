/**
 * The facts about a node of a cluster. As a program, it runs there, selects an
 * engine, and prints as JSON what the selection has found of the host;
 * elsewhere, these stand for the host.
 */
import { ENGINES } from "./choice.ts";
import { type Host, instructionsOf, machineOf, thisHost } from "./host.ts";
import type { WebgpuAdapter } from "./probe.ts";

/**
 * What a selection has found of a host; what is not here, the host does not
 * have.
 */
export interface NodeFacts {
  /** `x86_64-unknown-linux-gnu` */
  readonly target: string;
  /** Environment variables. */
  readonly env: Record<string, string>;
  /** Paths of files that exist. */
  readonly files: string[];
  /** Contents of text files, by path. */
  readonly texts: Record<string, string>;
  /** Standard output of programs, by command line. */
  readonly outputs: Record<string, string>;
  /** What a WebGPU adapter is, if there is one. */
  adapter?: WebgpuAdapter;
}

/** The host whose facts were printed on another machine. */
export function recordedHost(facts: NodeFacts): Host {
  return {
    target: facts.target,
    env: (name) => facts.env[name],
    exists: (path) => facts.files.includes(path),
    read: (path) => facts.texts[path],
    output: (program, ...args) =>
      Promise.resolve(facts.outputs[commandLine(program, args)]),
    webgpuAdapter: () => Promise.resolve(facts.adapter),
  };
}

/** A host that adds what it is asked to the facts. */
export function recordingHost(host: Host, facts: NodeFacts): Host {
  return {
    target: host.target,
    env(name) {
      const value = host.env(name);
      if (value !== undefined) facts.env[name] = value;
      return value;
    },
    exists(path) {
      const exists = host.exists(path);
      if (exists) facts.files.push(path);
      return exists;
    },
    read(path) {
      const text = host.read(path);
      if (text !== undefined) facts.texts[path] = text;
      return text;
    },
    async output(program, ...args) {
      const output = await host.output(program, ...args);
      if (output !== undefined) {
        facts.outputs[commandLine(program, args)] = output;
      }
      return output;
    },
    async webgpuAdapter() {
      const adapter = await host.webgpuAdapter();
      if (adapter !== undefined) facts.adapter = adapter;
      return adapter;
    },
  };
}

function commandLine(program: string, args: readonly string[]): string {
  return [program, ...args].join(" ");
}

/** Facts of which none is known yet. */
export function noFacts(target: string): NodeFacts {
  return { target, env: {}, files: [], texts: {}, outputs: {} };
}

if (import.meta.main) {
  const { selectEngine } = await import("./choose.ts");
  const facts = noFacts(thisHost.target);
  const host = recordingHost(thisHost, facts);
  const requested = ENGINES.find((name) => name === Deno.args[0]) ?? "auto";
  const choice = await selectEngine(requested, host);
  await instructionsOf(choice, host);
  await machineOf(choice, host);
  console.log(JSON.stringify(facts));
}

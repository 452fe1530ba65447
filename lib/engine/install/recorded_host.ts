import type { Host } from "./host.ts";
import type { WebgpuAdapter } from "./probe.ts";

/** Answers of a host, by the question as JSON: `["env","HOME"]`. */
type Answers = Record<string, unknown>;

/** A host that records what it is asked, with its answers. */
export function recordingHost(
  host: Host,
): { readonly host: Host; readonly answers: Answers } {
  const answers: Answers = { target: host.target };
  const recorded = <T>(answer: T, ...question: string[]): T => {
    answers[JSON.stringify(question)] = answer;
    return answer;
  };
  return {
    answers,
    host: {
      target: host.target,
      env: (name) => recorded(host.env(name), "env", name),
      exists: (path) => recorded(host.exists(path), "exists", path),
      read: (path) => recorded(host.read(path), "read", path),
      output: async (program, ...args) =>
        recorded(
          await host.output(program, ...args),
          ...["output", program, ...args],
        ),
      webgpuAdapter: async () =>
        recorded(await host.webgpuAdapter(), "webgpuAdapter"),
    },
  };
}

/** The host whose answers were recorded, perhaps on another machine. */
export function recordedHost(answers: Answers): Host {
  const answer = (...question: string[]) => answers[JSON.stringify(question)];
  return {
    target: String(answers.target),
    env: (name) => answer("env", name) as string | undefined,
    exists: (path) => answer("exists", path) === true,
    read: (path) => answer("read", path) as string | undefined,
    output: (program, ...args) =>
      Promise.resolve(answer("output", program, ...args) as string | undefined),
    webgpuAdapter: () =>
      Promise.resolve(
        (answer("webgpuAdapter") ?? undefined) as WebgpuAdapter | undefined,
      ),
  };
}

/**
 * The facts about a node of a cluster. As a program, it runs there, selects an
 * engine, and prints as JSON what the selection has asked of the host, with the
 * answers; elsewhere, these stand for the host.
 */
import type { EngineName } from "./choice.ts";
import { type Host, instructionsOf, machineOf, thisHost } from "./host.ts";

/** Answers of a host, by the question as JSON: `["env","HOME"]`. */
type Answers = Record<string, unknown>;

/** A host whose answers come from a function that is given its questions. */
function hostOf(target: string, ask: (question: string[]) => unknown): Host {
  return new Proxy({ target } as Host, {
    get(host, name) {
      if (name === "target") return host.target;
      // A function would make a promise wait for it.
      if (name === "then") return undefined;
      return (...more: string[]) => ask([String(name), ...more]);
    },
  });
}

/** The host whose answers were printed on another machine. */
export function recordedHost(answers: Answers): Host {
  return hostOf(
    String(answers.target),
    (question) => answers[JSON.stringify(question)] ?? undefined,
  );
}

if (import.meta.main) {
  const { selectEngine } = await import("./choose.ts");
  const answers: Answers = { target: thisHost.target };
  const host = hostOf(thisHost.target, (question) => {
    const record = (answer: unknown) =>
      answers[JSON.stringify(question)] = answer;
    const [name, ...more] = question as [keyof Host, ...string[]];
    const answer = (thisHost[name] as (...of: string[]) => unknown)(...more);
    return answer instanceof Promise ? answer.then(record) : record(answer);
  });
  const choice = await selectEngine(Deno.args[0] as EngineName | "auto", host);
  await instructionsOf(choice, host);
  await machineOf(choice, host);
  console.log(JSON.stringify(answers));
}

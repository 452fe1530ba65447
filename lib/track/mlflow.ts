import * as z from "zod";
import type { RecordedRun } from "./recorded_runs.ts";

/**
 * Failure of a request to a tracking server; the message has the problem and,
 * on a second line, the remedy.
 */
export class TrackError extends Error {
  override readonly name = "TrackError";

  constructor(problem: string, remedy: string, options?: ErrorOptions) {
    super(`${problem}\n${remedy}`, options);
  }
}

/** A server of MLflow. */
export interface Server {
  /** URL without a slash at its end. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** Tag that identifies a run of this program. */
const KEY_TAG = "dylora.key";

/**
 * Limits of MLflow: metrics in a request, parameters in one, characters of one.
 */
const MAX_METRICS = 1000;
const MAX_PARAMS = 100;
const MAX_VALUE = 500;

/**
 * Sends runs to a server of MLflow, to the experiment of the pipeline.
 *
 * A run that the experiment already has, by its key, is not sent again; one
 * whose transfer was interrupted is replaced.
 *
 * @see https://mlflow.org/docs/latest/api_reference/rest-api.html
 * @returns Number of runs that were added.
 * @throws {TrackError}
 */
export async function sendToMlflow(
  pipeline: string,
  runs: readonly RecordedRun[],
  server: Server,
): Promise<number> {
  const call = (method: string, body?: unknown) =>
    ask(server, `/api/2.0/mlflow/${method}`, body);
  const experiment = await experimentNamed(pipeline, call);
  const ids = new Map<string, string>();
  let added = 0;
  // Evaluations refer to trainings.
  const isTraining = ({ kind }: RecordedRun) => Number(kind === "training");
  for (const run of runs.toSorted((a, b) => isTraining(b) - isTraining(a))) {
    const present = await runsOf(run.key, experiment, call);
    const whole = present.find(({ status }) => status === "FINISHED");
    if (whole !== undefined) {
      ids.set(run.key, whole.run_id);
      continue;
    }
    for (const { run_id } of present) await call("runs/delete", { run_id });
    ids.set(run.key, await sendRun(run, experiment, ids, call));
    added++;
  }
  return added;
}

type Call = (method: string, body?: unknown) => Promise<unknown>;

const Experiment = z.looseObject({ experiment_id: z.string() });
const Experiments = z.looseObject({
  experiments: z.array(Experiment).default([]),
});

/** Id of the experiment with this name, which is created if there is none. */
async function experimentNamed(name: string, call: Call): Promise<string> {
  const query = { filter: `name = '${name}'`, max_results: 1 };
  const { experiments: [existing] } = Experiments.parse(
    await call("experiments/search", query),
  );
  const { experiment_id } = existing ??
    Experiment.parse(await call("experiments/create", { name }));
  return experiment_id;
}

const Found = z.looseObject({
  runs: z.array(z.looseObject({
    info: z.looseObject({ run_id: z.string(), status: z.string() }),
  })).default([]),
});

/** The runs on the server that were sent for the result of a key. */
async function runsOf(key: string, experiment: string, call: Call) {
  const { runs } = Found.parse(
    await call("runs/search", {
      experiment_ids: [experiment],
      filter: `tags."${KEY_TAG}" = '${key}'`,
    }),
  );
  return runs.map(({ info }) => info);
}

const CreatedRun = z.looseObject({
  run: z.looseObject({ info: z.looseObject({ run_id: z.string() }) }),
});

/**
 * Sends a run, and marks it as finished when all of it has arrived.
 *
 * @param ids Ids of the runs on the server, by key.
 * @returns Its id.
 */
async function sendRun(
  run: RecordedRun,
  experiment: string,
  ids: ReadonlyMap<string, string>,
  call: Call,
): Promise<string> {
  const parent = run.training && ids.get(run.training);
  const tags = {
    [KEY_TAG]: run.key,
    "dylora.stage": run.stage,
    "dylora.kind": run.kind,
    ...(parent && { "mlflow.parentRunId": parent }),
  };
  const { run: { info: { run_id } } } = CreatedRun.parse(
    await call("runs/create", {
      experiment_id: experiment,
      run_name: run.name,
      start_time: Math.round(run.started),
      tags: Object.entries(tags).map(([key, value]) => ({ key, value })),
    }),
  );
  for (const part of chunks(Object.entries(run.params), MAX_PARAMS)) {
    const params = part.map(([key, value]) => ({
      key,
      value: String(value).slice(0, MAX_VALUE),
    }));
    await call("runs/log-batch", { run_id, params });
  }
  for (const part of chunks(run.points, MAX_METRICS)) {
    const metrics = part.map(({ name: key, step, value, time }) => ({
      key,
      step,
      value,
      timestamp: Math.round(time),
    }));
    await call("runs/log-batch", { run_id, metrics });
  }
  await call("runs/update", {
    run_id,
    status: "FINISHED",
    end_time: Math.round(run.ended),
  });
  return run_id;
}

/**
 * Address of a server of MLflow and the headers that authenticate there: by the
 * user and password in its URL, or else by the environment variables of
 * MLflow's own clients.
 */
export function mlflowServer(
  server: string,
  env: (name: string) => string | undefined,
): Pick<Server, "url" | "headers"> {
  const address = new URL(server);
  if (address.username !== "") return serverAt(address);
  const token = env("MLFLOW_TRACKING_TOKEN");
  if (token) {
    const authorization = `Bearer ${token}`;
    return { url: serverAt(address).url, headers: { authorization } };
  }
  const variable = (name: string) =>
    encodeURIComponent(env(`MLFLOW_TRACKING_${name}`) ?? "");
  address.username = variable("USERNAME");
  address.password = variable("PASSWORD");
  return serverAt(address);
}

/**
 * The server at an address: the user and password in it become a header (RFC
 * 7617), so that no message shows them.
 */
export function serverAt(address: URL): Pick<Server, "url" | "headers"> {
  const { username, password } = address;
  const user = [username, password].map(decodeURIComponent).join(":");
  const basic = `Basic ${new TextEncoder().encode(user).toBase64()}`;
  const bare = new URL(address);
  bare.username = "";
  bare.password = "";
  return {
    url: bare.href.replace(/\/+$/, ""),
    headers: username === "" ? {} : { authorization: basic },
  };
}

/** Milliseconds in which a server must answer. */
const TIMEOUT = 60_000;

/**
 * Sends a request, by POST if it has a body.
 *
 * @param path Begins with a slash.
 * @returns The answer, parsed.
 * @throws {TrackError} If the server cannot be reached, refuses, or does not
 * answer in JSON.
 */
export async function ask(
  { url, headers, signal }: Server,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const sent = body === undefined
    ? {}
    : { method: "POST", body: JSON.stringify(body) };
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${url}${path}`, {
      ...sent,
      headers: { ...headers, "content-type": "application/json" },
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
    });
    text = await response.text();
  } catch (error) {
    signal.throwIfAborted();
    throw new TrackError(
      `Cannot reach the MLflow server at ${url}: ${(error as Error).message}`,
      'Start one with "mlflow server", or give its address with --url',
      { cause: error },
    );
  }
  const { ok, status } = response;
  if (!ok) {
    throw new TrackError(
      `The server at ${url} responds with status ${status} to ${path}: ${
        text.slice(0, 300)
      }`,
      "Check that it is the MLflow server, and that you may write to it",
    );
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TrackError(
      `The server at ${url} does not answer in JSON to ${path}`,
      "Check that it is the MLflow server",
      { cause: error },
    );
  }
}

/** Items in groups of a size: those of one request. */
export function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from(
    { length: Math.ceil(items.length / size) },
    (_, i) => items.slice(i * size, (i + 1) * size),
  );
}

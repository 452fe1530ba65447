import * as z from "zod";
import type { RecordedRun } from "./recorded_runs.ts";
import { ask, chunks, type Server, serverAt } from "./server.ts";

/** Tag that identifies a run of this program. */
const KEY_TAG = "dylora.key";

/** Maximum number of metrics and of parameters in a request, and of characters in a parameter. */
const [MAX_METRICS, MAX_PARAMS, MAX_VALUE] = [1000, 100, 500];

/**
 * Sends runs to a server of MLflow, to the experiment of the pipeline.
 *
 * A run that the experiment already has, by its key, is not sent again; one whose
 * transfer was interrupted is replaced.
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
  const { experiments: [found] } = Experiments.parse(
    await call("experiments/search", query),
  );
  const { experiment_id } = found ??
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
      ...{ key, step, value },
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
 * user and password in its URL, or else by the environment variables of MLflow's
 * own clients.
 */
export function mlflowServer(
  given: string,
  env: (name: string) => string | undefined,
): Pick<Server, "url" | "headers"> {
  const address = new URL(given);
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

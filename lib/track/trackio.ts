import * as z from "zod";
import type { RecordedRun } from "./recorded_runs.ts";
import { ask, chunks, type Server, serverAt } from "./server.ts";

/** Maximum number of entries in a request. */
const MAX_ENTRIES = 1000;

/**
 * Sends runs to a server of Trackio, to the project of the pipeline.
 *
 * The ids of runs and entries are derived from the run's key, so that the server
 * does not add an entry twice.
 *
 * @returns Number of runs that the server did not have.
 * @throws {TrackError}
 */
export async function sendToTrackio(
  pipeline: string,
  runs: readonly RecordedRun[],
  server: Server,
): Promise<number> {
  const call = async (name: string, body: unknown) =>
    Answer.parse(await ask(server, `/api/${name}`, body)).data;
  const records = Records.parse(
    await call("get_runs_for_project", { project: pipeline }),
  );
  const present = new Set(records.map(({ name }) => name));
  let added = 0;
  for (const run of runs) {
    for (const logs of chunks(entriesOf(run, pipeline), MAX_ENTRIES)) {
      await call("bulk_log", { logs, hf_token: null });
    }
    if (!present.has(run.name)) added++;
  }
  return added;
}

const Answer = z.looseObject({ data: z.unknown() });
const Records = z.array(z.looseObject({ name: z.string() }));

/** An entry for each step: the values of the run at that step. */
function entriesOf(run: RecordedRun, project: string) {
  const steps = Map.groupBy(run.points, ({ step }) => step);
  const config = {
    ...run.params,
    stage: run.stage,
    kind: run.kind,
    key: run.key,
    started: new Date(run.started).toISOString(),
    ...(run.training !== undefined && { training: run.training }),
  };
  return [...steps].map(([step, points]) => ({
    project,
    run: run.name,
    run_id: run.key,
    step,
    metrics: Object.fromEntries(points.map(({ name, value }) => [name, value])),
    config,
    log_id: `${run.key}:${step}`,
  }));
}

/**
 * Address of a server and the headers that authenticate there, from the URL
 * that `trackio.show()` prints, which may contain the token.
 */
export function trackioServer(
  url: string,
  env: (name: string) => string | undefined,
): Pick<Server, "url" | "headers"> {
  const address = new URL(url);
  const token = address.searchParams.get("write_token") ??
    env("TRACKIO_WRITE_TOKEN");
  address.search = "";
  address.hash = "";
  const { url: bare, headers } = serverAt(address);
  const own = token ? { "x-trackio-write-token": token } : {};
  return { url: bare, headers: { ...headers, ...own } };
}

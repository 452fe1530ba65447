import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  ask,
  mlflowServer,
  sendToMlflow,
  type Server,
  TrackError,
} from "../../lib/track/mlflow.ts";
import { recordedRuns } from "../../lib/track/recorded_runs.ts";
import type { RecordedRun } from "../../lib/track/recorded_runs.ts";
import { withFolder } from "../tasks/run_task.ts";
import { filledStore } from "./made_results.ts";
import { PYTHON, TrackingServer } from "./tracking_server.ts";

const fail = (text: string) => {
  throw new Error(text);
};
const { signal } = new AbortController();

/** The values of a run's points with a name, by step. */
function valuesOf({ points }: RecordedRun, name: string): [number, number][] {
  return points.filter((point) => point.name === name)
    .map(({ step, value }) => [step, value]);
}

Deno.test({
  name:
    "sendToMlflow() gives a real server every run once, and replaces one whose transfer was interrupted",
  ignore: PYTHON === undefined,
  fn: () =>
    withFolder(async (folder) => {
      const runs = await recordedRuns("made", await filledStore(folder), fail);
      await using running = await TrackingServer.start((port) => [
        ...["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port],
        ...["--backend-store-uri", "sqlite:///mlflow.db", "--workers", "1"],
      ], { folder, env: {}, ready: "/health" });
      const server: Server = {
        url: running.url,
        headers: {},
        signal,
      };
      const call = (method: string, body?: unknown) =>
        // deno-lint-ignore no-explicit-any
        ask(server, `/api/2.0/mlflow/${method}`, body) as Promise<any>;
      assertEquals(await sendToMlflow("made", runs, server), 3);
      assertEquals(await sendToMlflow("made", runs, server), 0);

      const { experiment: { experiment_id } } = await call(
        "experiments/get-by-name?experiment_name=made",
      );
      const search = async () =>
        (await call("runs/search", { experiment_ids: [experiment_id] })).runs;
      const found = await search();
      assertEquals(found.length, 3);
      const idOf = new Map<string, string>();
      for (const run of runs) {
        const { info, data } = found.find((
          it: { info: { run_name: string } },
        ) => it.info.run_name === run.name);
        idOf.set(run.key, info.run_id);
        assertEquals(info.status, "FINISHED");
        assertEquals(info.start_time, run.started);
        assertEquals(info.end_time, run.ended);
        const params = new Map(
          data.params.map((
            { key, value }: { key: string; value: string },
          ) => [key, value]),
        );
        assertEquals(params.size, Object.keys(run.params).length);
        for (const [name, value] of Object.entries(run.params)) {
          assertEquals(params.get(name), String(value));
        }
        for (const name of new Set(run.points.map(({ name }) => name))) {
          const query = new URLSearchParams({
            run_id: info.run_id,
            metric_key: name,
          });
          const { metrics } = await call(`metrics/get-history?${query}`);
          assertEquals(
            metrics.map((
              { step, value }: { step: number; value: number },
            ) => [step, value]),
            valuesOf(run, name),
            name,
          );
        }
      }
      const [, training, evaluation] = runs;
      const { run } = await call(
        `runs/get?run_id=${idOf.get(evaluation!.key)}`,
      );
      const parent = run.data.tags.find((
        { key }: { key: string },
      ) => key === "mlflow.parentRunId");
      assertEquals(parent.value, idOf.get(training!.key));

      const broken = idOf.get(training!.key)!;
      await call("runs/update", { run_id: broken, status: "RUNNING" });
      assertEquals(await sendToMlflow("made", runs, server), 1);
      const ids = (await search()).map((
        it: { info: { run_id: string } },
      ) => it.info.run_id);
      assertEquals(ids.length, 3);
      assert(!ids.includes(broken));
    }),
});

for (
  const [what, answer, message] of [
    ["refuses", new Response("no", { status: 403 }), /status 403 to \/x: no\n/],
    ["is of another kind", new Response("<html>"), /not answer in JSON to \/x/],
  ] as const
) {
  Deno.test(`ask() says that a server ${what}`, async () => {
    await using other = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      () => answer,
    );
    const error = await assertRejects(() =>
      ask({
        url: `http://127.0.0.1:${other.addr.port}`,
        headers: {},
        signal,
      }, "/x"), TrackError);
    assert(message.test(error.message), error.message);
  });
}

Deno.test("ask() says how to start a server that it cannot reach", async () => {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const url = `http://127.0.0.1:${port}`;
  const error = await assertRejects(() =>
    ask(
      { url, headers: {}, signal },
      "/x",
      {},
    ), TrackError);
  assert(
    error.message.startsWith(`Cannot reach the MLflow server at ${url}: `) &&
      error.message.endsWith(
        '\nStart one with "mlflow server", or give its address with --url',
      ),
    error.message,
  );
});

Deno.test("mlflowServer() takes tokens as MLflow's own clients do", () => {
  const env = (variables: Record<string, string>) => (name: string) =>
    variables[name];
  const at = "https://tracks.test/mlflow";
  const mlflow = (variables: Record<string, string>, address = `${at}/`) => {
    const { url, headers } = mlflowServer(address, env(variables));
    assertEquals(url, at);
    return headers;
  };
  const ann = { authorization: "Basic YW5uOnDDpHNzd29yZA==" };
  const token = { MLFLOW_TRACKING_TOKEN: "t" };
  assertEquals(mlflow({}), {});
  assertEquals(mlflow(token), { authorization: "Bearer t" });
  assertEquals(
    mlflow({
      MLFLOW_TRACKING_USERNAME: "ann",
      MLFLOW_TRACKING_PASSWORD: "pässword",
    }),
    ann,
  );
  const withPassword = "https://ann:pässword@tracks.test/mlflow";
  assertEquals(mlflow(token, withPassword), ann);
});

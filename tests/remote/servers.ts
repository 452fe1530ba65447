/** Real servers for remotes: nginx with WebDAV, and SeaweedFS for S3. */
import { existsSync } from "node:fs";
import { join } from "node:path";

/** The path of an installed program; undefined if there is none. */
function programOf(name: string): string | undefined {
  return [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin"]
    .map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export const NGINX = programOf("nginx");
export const WEED = programOf("weed");

function freePorts(number: number): number[] {
  const listeners = Array.from(
    { length: number },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  return listeners.map((listener) => {
    const { port } = listener.addr as Deno.NetAddr;
    listener.close();
    return port;
  });
}

/** A server in a process, killed on disposal. */
class Running implements AsyncDisposable {
  constructor(readonly url: string, readonly process: Deno.ChildProcess) {}

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.process.kill("SIGTERM");
    } catch { /* It has ended. */ }
    await this.process.status;
  }
}

async function started(
  command: string,
  args: readonly string[],
  url: string,
  isUp: (status: number) => boolean,
): Promise<Running> {
  const process = new Deno.Command(command, {
    args: [...args],
    stdout: "null",
    stderr: "null",
  }).spawn();
  for (let tries = 0;; tries++) {
    try {
      const answer = await fetch(url);
      await answer.body?.cancel();
      if (isUp(answer.status)) return new Running(url, process);
    } catch (error) {
      if (tries > 600) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/**
 * nginx, which serves and stores the files in a folder for whoever has a
 * password, and lists them.
 */
export async function startNginx(folder: string): Promise<Running> {
  const [port] = freePorts(1);
  const files = join(folder, "files");
  Deno.mkdirSync(files);
  Deno.writeTextFileSync(join(folder, "users"), "ci:{PLAIN}passw0rd\n");
  Deno.writeTextFileSync(
    join(folder, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/log;
${Deno.uid() === 0 ? "user root;" : ""}
events {}
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  client_max_body_size 0;
  server {
    listen 127.0.0.1:${port};
    root ${files};
    autoindex on;
    location / {
      dav_methods PUT DELETE;
      create_full_put_path on;
      auth_basic "results";
      auth_basic_user_file ${folder}/users;
    }
  }
}
`,
  );
  return await started(
    NGINX!,
    ["-c", join(folder, "nginx.conf"), "-e", join(folder, "log")],
    `http://127.0.0.1:${port}/`,
    (status) => status === 401,
  );
}

/** The only user of the S3 server. */
export const S3_USER = {
  AWS_ACCESS_KEY_ID: "someone",
  AWS_SECRET_ACCESS_KEY: "s3cretkey",
};

/** SeaweedFS as an S3 server, with the bucket `results`. */
export async function startS3(folder: string): Promise<Running> {
  const [master, volume, filer, s3, a, b, c, d] = freePorts(8);
  Deno.writeTextFileSync(
    join(folder, "s3.json"),
    JSON.stringify({
      identities: [{
        name: "someone",
        credentials: [{
          accessKey: S3_USER.AWS_ACCESS_KEY_ID,
          secretKey: S3_USER.AWS_SECRET_ACCESS_KEY,
        }],
        actions: ["Admin", "Read", "Write", "List", "Tagging"],
      }],
    }),
  );
  const server = await started(
    WEED!,
    [
      ...["server", "-ip=127.0.0.1", `-dir=${folder}`, "-filer", "-s3"],
      ...[`-master.port=${master}`, `-master.port.grpc=${a}`],
      ...[`-volume.port=${volume}`, `-volume.port.grpc=${b}`],
      ...[`-filer.port=${filer}`, `-filer.port.grpc=${c}`],
      ...[`-s3.port=${s3}`, `-s3.port.grpc=${d}`],
      ...["-volume.max=20", `-s3.config=${join(folder, "s3.json")}`],
    ],
    `http://127.0.0.1:${s3}/`,
    (status) => status < 500,
  );
  const { AwsClient } = await import("aws4fetch");
  const client = new AwsClient({
    accessKeyId: S3_USER.AWS_ACCESS_KEY_ID,
    secretAccessKey: S3_USER.AWS_SECRET_ACCESS_KEY,
    service: "s3",
    region: "us-east-1",
  });
  const made = await client.fetch(`${server.url}results`, { method: "PUT" });
  await made.body?.cancel();
  if (!made.ok) throw new Error(`No bucket: ${made.status}`);
  return server;
}

import { AwsV4Signer } from "aws4fetch";
import { readIfThere } from "../files/files.ts";
import { join } from "../files/paths.ts";
import {
  type Entry,
  type HttpOptions,
  HttpTransport,
  textOf,
} from "./transport.ts";

/**
 * An S3 bucket: `s3://BUCKET/PREFIX`. A blob is stored by one PUT, which S3
 * limits to 5 GB, and is in memory meanwhile.
 *
 * Credentials come from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
 * `AWS_SESSION_TOKEN`, or the profile `AWS_PROFILE` of `~/.aws/credentials`.
 * `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names another service than
 * Amazon's, `AWS_REGION` the region.
 */
export class S3Transport extends HttpTransport {
  readonly #bucket: URL;
  readonly #prefix: string;

  constructor(
    { hostname, pathname }: URL,
    name: string,
    options: Omit<HttpOptions, "authorize" | "streamed">,
  ) {
    const env = Deno.env.toObject();
    const region = env.AWS_REGION || env.AWS_DEFAULT_REGION || "us-east-1";
    const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL;
    const bucket = new URL(
      endpoint
        ? `${endpoint.replace(/\/+$/, "")}/${hostname}/`
        : `https://${hostname}.s3.${region}.amazonaws.com/`,
    );
    const prefix = pathname.replace(/^\/+|\/+$/g, "");
    const credentials = findCredentials(env);
    super(new URL(prefix, bucket), name, {
      ...options,
      streamed: Infinity,
      async authorize(method, url) {
        if (credentials === undefined) return {};
        const { headers } = await new AwsV4Signer({
          method,
          url,
          service: "s3",
          region,
          ...credentials,
        }).sign();
        return headers;
      },
    });
    this.#bucket = bucket;
    this.#prefix = prefix;
  }

  override async *list(folder: string): AsyncGenerator<Entry> {
    for (let token: string | undefined = "";;) {
      const url = new URL(this.#bucket);
      const prefix = join(this.#prefix, folder);
      url.search = new URLSearchParams({
        "list-type": "2",
        prefix: `${prefix}/`,
        ...(token && { "continuation-token": token }),
      }).toString();
      const page = await this.request(url, "GET", textOf) ?? "";
      const entries = [...page.matchAll(/<Contents>(.*?)<\/Contents>/gs)];
      for (const [, entry] of entries) {
        const key = memberOf(entry!, "Key");
        const written = Date.parse(memberOf(entry!, "LastModified") ?? "");
        const path = key?.slice(prefix.length - folder.length);
        if (path) yield { path, ...(written && { written }) };
      }
      token = memberOf(page, "NextContinuationToken");
      if (token === undefined || entries.length === 0) return;
    }
  }
}

/**
 * The text of an element of XML. Keys of a remote have no characters that are
 * escaped.
 */
function memberOf(xml: string, name: string): string | undefined {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
}

/**
 * What signs requests, of the environment or a file; without it, they are
 * anonymous, as public buckets allow.
 */
function findCredentials(env: Readonly<Record<string, string>>) {
  const isInEnvironment = env.AWS_ACCESS_KEY_ID && env.AWS_SECRET_ACCESS_KEY;
  const variables = isInEnvironment ? env : profileIn(
    env.AWS_SHARED_CREDENTIALS_FILE || join(env.HOME ?? "", ".aws/credentials"),
    env.AWS_PROFILE || "default",
  );
  const accessKeyId = variables.AWS_ACCESS_KEY_ID;
  const secretAccessKey = variables.AWS_SECRET_ACCESS_KEY;
  const sessionToken = variables.AWS_SESSION_TOKEN;
  if (!accessKeyId || !secretAccessKey) return undefined;
  return {
    accessKeyId,
    secretAccessKey,
    ...(sessionToken && { sessionToken }),
  };
}

/**
 * The values of a profile in a file of credentials, by the names of their
 * variables.
 */
function profileIn(file: string, profile: string): Record<string, string> {
  const section = (readIfThere(file) ?? "").split(/^\s*\[/m)
    .find((it) => it.startsWith(`${profile}]`)) ?? "";
  return Object.fromEntries(
    [...section.matchAll(/^\s*(\w+)\s*=\s*(\S+)\s*$/gm)]
      .map(([, name, value]) => [name!.toUpperCase(), value!]),
  );
}

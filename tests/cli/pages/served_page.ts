import { assert, assertEquals } from "@std/assert";
import { type CliProject, spawnMain } from "../project.ts";

/** A command that serves a page. */
export class ServedPage implements AsyncDisposable {
  private constructor(
    readonly process: Deno.ChildProcess,
    readonly url: string,
  ) {}

  /** Starts a command on the pipeline of a project. */
  static start(
    command: string,
    project: CliProject,
    ...words: readonly string[]
  ): Promise<ServedPage> {
    return ServedPage.of(
      ...[command, project.path("test.yaml"), ...words],
      ...["--tasks", project.path("tasks"), "--out", project.path("out")],
    );
  }

  static async of(...words: readonly string[]): Promise<ServedPage> {
    const process = spawnMain(...words, "--json");
    let text = "";
    for await (
      const chunk of process.stdout.pipeThrough(new TextDecoderStream())
    ) {
      text += chunk;
      if (text.includes("\n")) break;
    }
    return new ServedPage(process, JSON.parse(text).url);
  }

  // deno-lint-ignore no-explicit-any
  async ask(path: string): Promise<any> {
    const answer = await fetch(this.url + path);
    assertEquals(answer.status, 200, path);
    return await answer.json();
  }

  /** Waits until the state is as it should be. */
  // deno-lint-ignore no-explicit-any
  async until(holds: (state: any) => boolean | Promise<boolean>): Promise<any> {
    const end = Date.now() + 120_000;
    for (;;) {
      const state = await this.ask("state");
      if (await holds(state)) return state;
      assert(Date.now() < end, JSON.stringify(state));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Ends it by one Ctrl-C; gives its exit code. */
  async stop(): Promise<number> {
    this.process.kill("SIGINT");
    const { code } = await this.process.status;
    await this.process.stderr.cancel();
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.process.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      return; // It has ended.
    }
    await this.process.status;
    await this.process.stderr.cancel();
  }
}

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "@std/yaml";
import { join } from "node:path";
import exportAdapter from "../../../tasks/export-adapter.ts";
import { LocalHub } from "../../hub/local_hub.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../../tasks/run_task.ts";
import { callMainWith } from "../project.ts";

const MODEL = join(import.meta.dirname!, "../../../fixtures/tiny-roberta");
const TOKEN = "hf_write";

/** Calls a function with a hub and the folder of an exported adapter. */
function withExported(
  body: (
    hub: LocalHub,
    exported: string,
    push: (
      ...args: readonly string[]
    ) => ReturnType<typeof callMainWith>,
  ) => Promise<void>,
): () => Promise<void> {
  return () =>
    withFolder(async (folder) => {
      await using hub = new LocalHub([], TOKEN);
      const { output } = await runTask(exportAdapter, folder, {}, {
        adapter: await referenceAdapter(folder, REFERENCE_TRAINING),
        model: MODEL,
      });
      const env = { HF_ENDPOINT: hub.endpoint, HF_TOKEN: TOKEN };
      await body(
        hub,
        output,
        (...args) =>
          callMainWith({ env }, "push", "--adapter", output, ...args),
      );
    });
}

Deno.test(
  "push uploads an exported adapter as one commit, under the name of the repository and of the base model on the hub",
  withExported(async (hub, exported, push) => {
    const args = ["--to", "me/mine", "--base-model", "org/base", "--private"];
    const { code, stdout, stderr } = await push(...args);
    assertEquals(code, 0, stderr);
    assertEquals(stdout, `${hub.endpoint}/me/mine\n`);
    assertMatch(stderr, /^Uploading \d files, [\d.]+ \wB, to me\/mine$/m);
    assertEquals([...hub.created], [["me/mine", true]]);
    const [{ repository, files }, ...others] = hub.commits as [
      typeof hub.commits[number],
    ];
    assertEquals(others.length, 0);
    assertEquals(repository, "me/mine");
    const names = [...Deno.readDirSync(exported)].map(({ name }) => name);
    assertEquals([...files.keys()].sort(), names.sort());
    const text = (name: string) => new TextDecoder().decode(files.get(name));
    const card = text("README.md");
    const [, head] = /^---\n([^]*?)^---$/m.exec(card)!;
    assertEquals(
      (parse(head!) as { base_model: string }).base_model,
      "org/base",
    );
    assertMatch(card, /^folder = "me\/mine"$/m);
    assert(!card.includes("FOLDER"), card);
    const config = JSON.parse(text("adapter_config.json"));
    assertEquals(config.base_model_name_or_path, "org/base");
    for (const name of ["adapter_model.safetensors", "tokenizer.json"]) {
      assertEquals(files.get(name), Deno.readFileSync(join(exported, name)));
    }
    // A repository that exists is used.
    const again = await push(...args, "--json");
    assertEquals(again.code, 0, again.stderr);
    assertEquals(again.json(), [{
      type: "pushed",
      url: `${hub.endpoint}/me/mine`,
      commit: "f".repeat(40),
    }]);
    assertEquals(hub.commits.length, 2);
  }),
);

Deno.test(
  "push refuses a base model that is not of the hub, and says what the hub refuses",
  withExported(async (hub, exported, push) => {
    // The reference adapter names org/tiny-roberta.
    const config = join(exported, "adapter_config.json");
    const text = Deno.readTextFileSync(config);
    Deno.writeTextFileSync(
      config,
      text.replace("org/tiny-roberta", "out/x/model"),
    );
    const local = await push("--to", "me/mine");
    assertEquals(local.code, 2);
    assertMatch(
      local.stderr,
      /The base model "out\/x\/model" is not a repository of the hub: name one with --base-model OWNER\/NAME/,
    );
    const env = { HF_ENDPOINT: hub.endpoint, HF_TOKEN: "hf_other" };
    const args = ["--to", "me/mine", "--base-model", "org/base"];
    const call = (env: Record<string, string>) =>
      callMainWith({ env }, "push", "--adapter", exported, ...args);
    const denied = await call(env);
    assertEquals(denied.code, 1);
    assertMatch(
      denied.stderr,
      /^The hub refuses the push to "me\/mine" \(status 403\): You do not have write access.*\nSet HF_TOKEN to a token with write access/,
    );
    const anonymous = await call({ ...env, HF_TOKEN: "" });
    assertMatch(anonymous.stderr, /without an access token\nSet HF_TOKEN/);
    assertEquals(hub.commits, []);
    for (
      const [damaged, reason] of [
        ["{bad", "is not valid JSON: .*"],
        ["null", "has invalid content:\\n.* expected object, received null"],
      ] as const
    ) {
      Deno.writeTextFileSync(config, damaged);
      const { code, stderr } = await push("--to", "me/mine");
      assertEquals(code, 2);
      assertMatch(
        stderr,
        new RegExp(
          `^"${config}" ${reason}\nSave the adapter again`,
        ),
      );
    }
    const both = await callMainWith(
      {},
      ...["push", "--adapter", exported, "--to", "me/x"],
      ...["--profile", "trial"],
    );
    assertEquals(both.code, 2);
    assertMatch(
      both.stderr,
      /^Option "--profile" does not apply to "--adapter"$/m,
    );
    const missing = await callMainWith({}, "push", "--adapter", exported);
    assertEquals(missing.code, 2);
    assertMatch(missing.stderr, /Missing option "--to": give OWNER\/NAME/);
  }),
);

Deno.test(
  "push uploads to a repository that exists with a token that may write to it but not create one",
  withExported(async (hub, _exported, push) => {
    const args = ["--to", "me/mine", "--base-model", "org/base"];
    let exists = true;
    hub.breakWith(({ path }) => {
      switch (path) {
        case "/api/repos/create":
          return Response.json({ error: "You may not create a model" }, {
            status: 403,
          });
        case "/api/models/me/mine":
          return exists ? undefined : new Response("", { status: 404 });
      }
    });
    hub.created.set("me/mine", false);
    const { code, stdout, stderr } = await push(...args);
    assertEquals(code, 0, stderr);
    assertEquals(stdout, `${hub.endpoint}/me/mine\n`);
    exists = false;
    const missing = await push(...args);
    assertEquals(missing.code, 1);
    assertMatch(
      missing.stderr,
      /^The hub refuses the push to "me\/mine" \(status 403\): You may not create a model/,
    );
    assertEquals(hub.commits.map((commit) => commit.repository), ["me/mine"]);
  }),
);

Deno.test(
  "push uploads the targets of links, and refuses an adapter without weights and a link whose target is missing",
  withExported(async (hub, exported, push) => {
    const args = ["--to", "me/mine", "--base-model", "org/base"];
    const weights = join(exported, "adapter_model.safetensors");
    const bytes = Deno.readFileSync(weights);
    const blobs = `${exported}-blobs`;
    Deno.mkdirSync(blobs);
    for (const { name } of [...Deno.readDirSync(exported)]) {
      Deno.renameSync(join(exported, name), join(blobs, name));
      Deno.symlinkSync(join(blobs, name), join(exported, name));
    }
    Deno.symlinkSync(blobs, join(exported, "folder"));
    const linked = await push(...args);
    assertEquals(linked.code, 0, linked.stderr);
    const { files } = hub.commits[0]!;
    const names = [...Deno.readDirSync(blobs)].map(({ name }) => name);
    assertEquals([...files.keys()].sort(), names.sort());
    assertEquals(files.get("adapter_model.safetensors"), bytes);

    Deno.removeSync(join(blobs, "adapter_model.safetensors"));
    const broken = await push(...args);
    assertEquals(broken.code, 2);
    assertMatch(
      broken.stderr,
      new RegExp(
        `^"${weights}" is a link to a file that is missing: fetch the file, or remove the link`,
      ),
    );
    Deno.removeSync(weights);
    const without = await push(...args);
    assertEquals(without.code, 2);
    assertMatch(
      without.stderr,
      new RegExp(
        `^"${exported}" has no file "adapter_model.safetensors": give the output of a stage of the task export-adapter`,
      ),
    );
    Deno.removeSync(exported, { recursive: true });
    const gone = await push(...args);
    assertEquals(gone.code, 2);
    assertMatch(gone.stderr, new RegExp(`^"${exported}" is not a folder: `));
    assertEquals(hub.commits.length, 1);
  }),
);

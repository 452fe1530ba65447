import { assert, assertEquals, assertMatch } from "@std/assert";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { parse } from "yaml";
import { callHere, CliProject } from "../project.ts";

const PIPELINES = new URL("../../../pipelines/", import.meta.url);

/** A validator made from what `deno task schema` prints. */
async function validator(...args: string[]): Promise<ValidateFunction> {
  const { code, stdout, stderr } = await callHere("schema", ...args);
  assertEquals(code, 0, stderr);
  return new Ajv2020({ strict: false }).compile(JSON.parse(stdout));
}

Deno.test("schema accepts every pipeline of the project", async () => {
  const validate = await validator();
  for await (const { name } of Deno.readDir(PIPELINES)) {
    if (!name.endsWith(".yaml")) continue;
    const file = parse(await Deno.readTextFile(new URL(name, PIPELINES)));
    assert(validate(file), `${name}: ${JSON.stringify(validate.errors)}`);
  }
});

Deno.test("schema knows the parameters and inputs of each task", async () => {
  using project = new CliProject("");
  const validate = await validator("--tasks", project.path("tasks"));
  const accepts = (stage: unknown) =>
    validate({ name: "test", stages: { stage } });
  assert(
    accepts({ task: "make", with: { text: "x", size: "${params.size}" } }),
  );
  assert(accepts({ task: "make", with: { "<<": "${params.all}", size: 2 } }));
  assert(accepts({
    task: "make",
    with: { text: "x" },
    inputs: { from: ["a", "b[*]"] },
    matrix: { glue: ["mrpc"], include: [{ lr: 1 }] },
    resources: { cpus: 2, memory: "4GB", time: "${params.time}" },
  }));
  const refused: readonly (readonly [unknown, RegExp])[] = [
    [{ task: "mak", with: { text: "x" } }, /task/],
    [{ task: "make", with: { text: 5 } }, /text/],
    [{ task: "make", with: { text: "x", txt: "y" } }, /txt/],
    [{ task: "make", with: { text: "x" }, inputs: { form: "a" } }, /form/],
    [{ task: "make", with: { text: "x" }, resources: { cpu: 1 } }, /cpu/],
    [{ task: "make", with: { text: "x" }, matrix: { glue: "a" } }, /glue/],
  ];
  for (const [stage, where] of refused) {
    assertEquals(accepts(stage), false, JSON.stringify(stage));
    assertMatch(JSON.stringify(validate.errors), where);
  }
  // Parameters and inputs that a stage does not have may come from defaults.
  const stages = { stage: { task: "make" } };
  const general = { with: { make: { text: "x" } }, retries: 2 };
  assert(validate({ name: "test", defaults: general, stages }));
  for (
    const wrong of [{ retry: 1 }, { with: { mak: {} } }, {
      with: { make: { txt: "x" } },
    }]
  ) {
    assertEquals(validate({ name: "test", defaults: wrong, stages }), false);
  }
  assertEquals(validate({ stages: {} }), false);
  assertEquals(validate.errors?.[0]?.params, { missingProperty: "name" });
});

Deno.test("schema knows no task in a hidden file, such as the lock of an editor", async () => {
  using project = new CliProject("");
  const tasks = project.path("tasks");
  Deno.symlinkSync("me@host.1:2", `${tasks}/.#make.ts`);
  const validate = await validator("--tasks", tasks);
  assert(
    validate({
      name: "t",
      stages: { a: { task: "make", with: { text: "x" } } },
    }),
  );
  assertEquals(
    validate({ name: "t", stages: { a: { task: ".#make" } } }),
    false,
  );
});

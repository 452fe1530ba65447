import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { withEnvironment } from "../tasks/with_environment.ts";
import { main } from "./main.ts";

/** Calls `deno task bench` in this process, or runs another module of the tests. */
async function call(module: string, args: readonly string[]) {
  if (module === "./main.ts") return await benchHere(args);
  const path = fileURLToPath(import.meta.resolve(module));
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", path, ...args],
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), error: decoder.decode(stderr) };
}

async function benchHere(args: readonly string[]) {
  const { log, error } = console;
  const printed = { out: "", error: "" };
  console.log = (line: string) => void (printed.out += `${line}\n`);
  console.error = (line: string) => void (printed.error += `${line}\n`);
  try {
    const code = await withEnvironment({ PEFT_PYTHON: "" }, () => main(args));
    return { code, ...printed };
  } finally {
    Object.assign(console, { log, error });
  }
}

/** Options that each shows, and how the text begins. */
const programs: readonly (readonly [string, string[], RegExp, string[]])[] = [
  ["./main.ts", [], /^Usage: deno task bench NAME/, []],
  ["./main.ts", ["step"], /^Usage: deno task bench step/, [
    "--only SHAPE",
    "--precision LIST",
    "--steps N",
    "--threads N",
    "--json",
  ]],
  ["./main.ts", ["epoch"], /^Usage: deno task bench epoch/, [
    "--precision LIST",
    "--rounds N",
    "--json",
  ]],
  ["./main.ts", ["first"], /^Usage: deno task bench first/, [
    "--only SHAPE",
    "--precision LIST",
    "--runs N",
    "--json",
  ]],
  ["./main.ts", ["generate"], /^Usage: deno task bench generate/, [
    "--precision LIST",
    "--tokens N",
    "--rounds N",
    "--json",
  ]],
  ["./main.ts", ["pipeline"], /^Usage: deno task bench pipeline/, [
    "--only TOOL",
    "--stages LIST",
    "--runs N",
    "--tools DIR",
    "--json",
  ]],
  ["./main.ts", ["stage"], /^Usage: deno task bench stage/, [
    "--rounds N",
    "--beside DIR",
    "--json",
  ]],
  ["./main.ts", ["remote"], /^Usage: deno task bench remote/, [
    "--stages N",
    "--rounds N",
    "--pipeline NAME",
    "--profile NAME",
    "-S, --set KEY=VALUE",
    "--tools DIR",
    "--json",
  ]],
  ["./main.ts", ["profile"], /^Usage: deno task bench profile/, [
    "--only SHAPE",
    "--precision LIST",
    "--evaluate",
    "--samples",
    "--json",
  ]],
  ["./main.ts", ["resize"], /^Usage: deno task bench resize/, [
    "--layers LIST",
    "--model NAME",
    "--only LIST",
    "--dtype NAME",
    "--json",
  ]],
  ["./main.ts", ["serve"], /^Usage: deno task bench serve/, [
    "--only LIST",
    "--texts N",
    "--rounds N",
    "--json",
  ]],
  ["./main.ts", ["sweep"], /^Usage: deno task bench sweep/, [
    "--precision LIST",
    "--rounds N",
    "--examples N",
    "--parts",
    "--json",
  ]],
  ["../soak/soak.ts", [], /^Usage: deno task soak/, ["--rounds N", "--seed N"]],
];

for (const [module, args, beginning, options] of programs) {
  Deno.test(`${module} ${[...args, "--help"].join(" ")} prints the usage, with options and examples`, async () => {
    const { code, out } = await call(module, [...args, "--help"]);
    assertEquals(code, 0);
    assertMatch(out, beginning);
    assertEquals(options.filter((option) => !out.includes(option)), []);
    if (options.length > 0) assertMatch(out, /^Examples:\n {2}deno task /m);
  });
}

/** Wrong arguments, and their messages. */
const wrong: readonly (readonly [string, string[], RegExp])[] = [
  ["./main.ts", [], /^Usage: deno task bench NAME/],
  ["./main.ts", ["stp"], /^Unknown benchmark "stp"$/m],
  ["./main.ts", ["step"], /^PEFT_PYTHON is not set: run eval .*setup\.sh/],
  [
    "./main.ts",
    ["step", "--only", "tiny"],
    /^Invalid value "tiny" for option "--only": expected one of/,
  ],
  [
    "./main.ts",
    ["pipeline", "--runs", "0"],
    /^Invalid value "0" for option "--runs"/,
  ],
  [
    "./main.ts",
    ["pipeline", "--stages", "8,x"],
    /^Invalid value "x" for option "--stages": expected an integer of at least 1$/m,
  ],
  [
    "./main.ts",
    ["pipeline", "--tools", "no/such", "--only", "DVC"],
    /^Unknown tool "DVC"; the tools are "ours", "deno task"$/m,
  ],
  ["../soak/soak.ts", ["--round", "3"], /^Unknown option "--round"; did/],
  [
    "../soak/soak.ts",
    ["--rounds", "x"],
    /^Invalid value "x" for option "--rounds"/,
  ],
];

for (const [module, args, message] of wrong) {
  Deno.test(`${module} rejects "${args.join(" ")}" with exit code 2`, async () => {
    const { code, out, error } = await call(module, args);
    assertEquals(code, 2);
    assertMatch(out + error, message);
  });
}

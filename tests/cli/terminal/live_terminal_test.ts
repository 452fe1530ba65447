import { assert, assertEquals, assertMatch } from "@std/assert";
import { PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { CliProject } from "../project.ts";
import { inTerminal } from "./pseudo_terminal.ts";
import { Screen } from "./screen.ts";

const PIPELINE = `name: test
stages:
  train-with-a-name:
    task: train
    matrix: { glue: [a-long-name-of-a-data-set], rank: [1, 2, 3], seed: [0] }
    with: { rank: "\${matrix.rank}" }
  after:
    task: train
    with: { rank: 4, steps: 1 }
    inputs: { from: train-with-a-name[*] }
`;

/** A task that compiles, then takes steps. */
const TRAIN = `
import * as z from "zod";
export default {
  description: "Takes steps",
  params: z.strictObject({ rank: z.number(), steps: z.number().default(40) }),
  inputs: { from: { kind: "text", many: true, optional: true } },
  output: { kind: "text", files: ["out.txt"] },
  async run(stage) {
    const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const { steps } = stage.params;
    stage.progress(0, steps, "steps");
    stage.progress(0, steps, "steps", "compiling length 32");
    await wait(500);
    for (let step = 1; step <= steps; step++) {
      // The first steps are slow enough for a frame each, also on a busy machine.
      await wait(step < 5 ? 250 : 50);
      stage.progress(step, steps, "steps", "loss 0.5310  lr 8.21e-4  rank 3");
    }
    Deno.writeTextFileSync(stage.output + "/out.txt", String(stage.params.rank));
  },
};
`;

for (const [columns, rows] of [[80, 24], [140, 40]] as const) {
  Deno.test(`pipeline shows its stages in a terminal of ${columns}x${rows}, each told apart, and a line for each that ended`, async () => {
    using project = new CliProject(PIPELINE);
    project.write("tasks/train.ts", TRAIN);
    const { code, output } = await inTerminal([
      Deno.execPath(),
      ...[...PROGRAM, "pipeline", project.path("test.yaml")],
      ...["--tasks", project.path("tasks"), "--out", project.path("out")],
      ...["--jobs", "3", "--cpus", "3"],
    ], { columns, rows });
    assertEquals(code, 0, output);
    const screen = new Screen(columns, rows);
    screen.write(output);
    assertEquals(screen.wraps, 0);
    const three = screen.frames.filter((frame) =>
      [1, 2, 3].every((rank) =>
        frame.filter((row) => row.includes(`rank=${rank}`)).length === 1
      )
    );
    assert(three.length > 5, `${three.length} frames with three stages`);
    for (const frame of screen.frames) {
      assert(frame.every((row) => row.length < columns));
      const heads = frame.filter((row) => /^test {2}\d\/4 stages/.test(row));
      assert(heads.length <= 1, frame.join("\n"));
    }
    const texts = three.map((frame) => frame.join("\n"));
    assert(texts.some((it) => /━ +0% .* {2}compiling length 32$/m.test(it)));
    // No step has to be waited for until ten are done.
    assert(texts.some((it) => / [1-4]\/40 steps, loss/.test(it)), texts.at(-1));
    assert(texts.some((it) => / \d+% {2}[1-9] s left +\d+\/40 st/.test(it)));
    assert(texts.some((it) => /stages {2}[\d.]+ s, over \d+ s left/.test(it)));
    // How long the last stage takes is told by no earlier run.
    const lines = [...screen.above, ...screen.rows].filter((it) => it !== "");
    assertEquals(lines.length, 5, lines.join("\n"));
    for (const rank of [1, 2, 3]) {
      const id =
        `train-with-a-name@a-long-name-of-a-data-set,rank=${rank},seed=0`;
      assertEquals(
        lines.filter((it) => it.startsWith(`${id}: done`)).length,
        1,
      );
    }
    assertMatch(
      lines.at(-2)!,
      /^after: done in [\d.]+ s \(no earlier result\)$/,
    );
    assertMatch(lines.at(-1)!, /^4 stages: 4 ran, in [\d.]+ s$/);
  });
}

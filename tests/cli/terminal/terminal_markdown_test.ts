import {
  tableLines,
  terminalMarkdown,
} from "../../../lib/cli/terminal/terminal_markdown.ts";
import {
  setEnvironment,
  setTerminal,
  withoutTerminal,
} from "../../environment.ts";
import { GoldenFile } from "../../golden.ts";

const golden = new GoldenFile(
  new URL("terminal_markdown_golden.md", import.meta.url),
);

withoutTerminal();

Deno.test("terminalMarkdown() aligns tables, wraps paragraphs and names figures", () => {
  const markdown = `# Report

**LoRA is better by 6.5 \\[1.6, 11.4\\].** This paragraph goes on for more than the eighty columns of a terminal.

![Scores, by rank](scores.svg)

| Rank | DyLoRA | a\\|b |
| --- | --- | --- |
| 1 | 71.0 [65.0, 77.0] | |
| mean | **7** | not run |

- a list
- of two
`;
  using _env = setEnvironment({ NO_COLOR: undefined });
  using _terminal = setTerminal(true);
  const text = terminalMarkdown(markdown);
  golden.check(
    "tables, paragraphs and figures",
    text.replaceAll("\x1b[1m", "<b>").replaceAll("\x1b[2m", "<dim>")
      .replaceAll("\x1b[22m", "</>"),
  );
});

Deno.test("terminalMarkdown() wraps at words what is wider than 80 columns", () => {
  const titles = ["DyLoRA, sorted", "DyLoRA, as in the paper", "Matryoshka"];
  const head = ["Rank", ...titles, "LoRA", "LoRA of rank 8, by SVD"];
  const row = ["1", ...head.slice(1).map(() => "82.6 [80.2, 85.0]")];
  const markdown = [head, head.map(() => "---"), row]
    .map((cells) => `| ${cells.join(" | ")} |`).join("\n");
  const figure = `![${"seconds of training, ".repeat(5)}in all](cost.svg)`;
  golden.check("a wide table", terminalMarkdown(`${markdown}\n\n${figure}`));
});

Deno.test("tableLines() gives each row lines of its own where no wrapping makes a table fit", () => {
  const columns = [
    ["  started", "* 2026-11-23 09:05", "  2026-11-23 09:04"],
    ["stage", "evaluate-lora@sst2,seed=0", "evaluate-lora@sst2,seed=1"],
    ["accuracy", "0.8750", "0.9"],
  ];
  golden.check(
    "rows of lines of their own",
    tableLines(columns, () => false, 40).join("\n"),
  );
});

import { assertEquals } from "@std/assert";
import { terminalMarkdown } from "../../../lib/cli/terminal/terminal_markdown.ts";

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
  const style = {
    bold: (text: string) => `<b>${text}</b>`,
    dim: (text: string) => `<dim>${text}</dim>`,
  };
  assertEquals(
    terminalMarkdown(markdown, style),
    `<b>Report</b>

<b>LoRA is better by 6.5 [1.6, 11.4].</b> This paragraph goes on for more than
the eighty columns of a terminal.

<dim>figure: Scores, by rank, scores.svg</dim>

<b>Rank             DyLoRA      a|b</b>
1     71.0 [65.0, 77.0]
mean                  7  not run

- a list
- of two`,
  );
});

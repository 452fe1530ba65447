/** A pipeline of two stages, the second of which reads the first. */
import { type StageOptions, TestProject } from "../scheduler/project.ts";

/** Texts that the two stages write for a word, by their ids. */
export const TEXTS: Readonly<Record<string, (word: string) => string>> = {
  first: (word) => word,
  second: (word) => word.toUpperCase(),
};

/** A project with the tasks of the two stages. */
export function wordProject(): TestProject {
  const project = new TestProject();
  project.task("first", "return params.word;");
  project.task("second", "return read('from').toUpperCase();", {
    inputs: { from: { kind: "text" } },
  });
  return project;
}

export function stagesOf(word: string): Record<string, StageOptions> {
  return {
    first: { task: "first", params: { word } },
    second: { task: "second", inputs: { from: ["first"] } },
  };
}

import * as z from "zod";
import {
  METRICS,
  problemOf,
  PROBLEMS,
  type TaskProblem,
} from "../problems/registry.ts";
import { jsonFile } from "./json_file.ts";

/**
 * Fields by which every labelled artifact names its task, its problem and its
 * classes.
 */
export const TASK_FIELDS = {
  /** A task of a benchmark, or the user's own name for the data. */
  task: z.string().min(1),
  problem: z.enum(PROBLEMS),
  /** Class names in the order of their ids; null if labels are no classes. */
  labels: z.array(z.string()).min(2).nullable(),
  /**
   * Of words with classes: characters that are part of words before, between
   * and behind letters.
   */
  words: z.strictObject({
    before: z.string(),
    between: z.string(),
    behind: z.string(),
  }).exactOptional(),
  /** True if texts to write are answers in conversations. */
  isChat: z.literal(true).exactOptional(),
  /**
   * Of texts that may have several labels, the probability from which one is
   * predicted; 0.5 where it is absent.
   */
  threshold: z.number().gt(0).lt(1).exactOptional(),
  /**
   * Of texts that belong together, the number of texts of an example; 2 where
   * it is absent.
   */
  sequences: z.int().min(3).exactOptional(),
};

/**
 * Fields by which a data set, and tokens of it, also name what models of them
 * are scored by.
 */
export const SCORED_TASK_FIELDS = {
  ...TASK_FIELDS,
  /** Metrics, the main metric first. */
  metrics: z.array(z.enum(METRICS)).min(1),
};

/** The fields of a task in what is made for it. */
export function taskFields(
  { task, labels, words, isChat, threshold, sequences, ...fields }: TaskProblem,
) {
  const { name: problem } = problemOf({ ...fields, labels });
  return {
    task,
    problem,
    labels: labels && [...labels],
    ...words && { words: { ...words } },
    ...isChat && { isChat },
    ...threshold !== undefined && { threshold },
    ...sequences !== undefined && { sequences },
  };
}

/**
 * Tokens to which the texts of a training were truncated, special tokens
 * included; null if unknown, as of an imported adapter.
 */
export const trainedLength = z.int().positive().nullable().default(null);

/**
 * File of an exported adapter with its task, the names of its classes and the
 * length of its texts, which PEFT does not write.
 */
export const CLASSES_FILE = "classes.json";

const Classes = z.strictObject({ ...TASK_FIELDS, maxLength: trainedLength });

/**
 * {@linkcode CLASSES_FILE}, which an adapter that another program wrote lacks.
 */
export const {
  read: readClasses,
  find: findClasses,
  write: writeClasses,
} = jsonFile(CLASSES_FILE, Classes);

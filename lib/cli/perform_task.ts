/** The process of a task that a command runs by hand: the module of the task is its argument. */
import { perform } from "../scheduler/child.ts";

const { default: task } = await import(Deno.args[0]!);
await perform(task);

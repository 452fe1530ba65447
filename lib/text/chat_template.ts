import { Template } from "@huggingface/jinja";
import type { Message } from "../data/example.ts";

/** A text that no template has, and whose letters none changes. */
const ANSWER = "417052968";

/**
 * Python's methods of texts that remove given characters, which the library of
 * templates reads as white space.
 */
const STRIPS = {
  strip: stripping((some) => `^${some}|${some}$`),
  lstrip: stripping((some) => `^${some}`),
  rstrip: stripping((some) => `${some}$`),
};

function stripping(patternOf: (some: string) => string) {
  return (text: string, characters: string) => {
    const some = `[${RegExp.escape(characters)}]+`;
    return text.replace(new RegExp(patternOf(some), "gu"), "");
  };
}

/**
 * The function of our date under a name that the library has not taken: its own
 * gives the time of day, in the user's language.
 */
const DATE_FUNCTION = "strftime_of_date";

/** A part of a parsed template. */
interface TemplateNode {
  readonly type?: string;
  value?: unknown;
  args?: unknown[];
  callee?: { readonly object?: unknown; readonly property?: object };
}

/**
 * A template that calls {@linkcode STRIPS} where it gives these methods
 * characters, and {@linkcode DATE_FUNCTION}.
 */
function adapted<Node extends object>(node: Node): Node {
  for (const it of Object.values(node)) if (Object(it) === it) adapted(it);
  const part: TemplateNode = node;
  if (part.type === "Identifier" && part.value === "strftime_now") {
    part.value = DATE_FUNCTION;
  }
  const { args = [], callee } = part;
  const { value } = callee?.property as { readonly value?: string } ?? {};
  if (value !== undefined && value in STRIPS && args.length > 0) {
    args.unshift(callee!.object);
    part.callee = callee!.property!;
  }
  return node;
}

/** What a template makes of a conversation with an answer. */
export interface AnswerFrame {
  /** The conversation up to the answer, as a prompt. */
  readonly prompt: string;
  /** What stands between the prompt and the answer. */
  readonly before: string;
  readonly after: string;
}

/**
 * The template by which a model's tokenizer makes a text of a conversation, as
 * transformers renders it.
 */
export class ChatTemplate {
  readonly #template: Template;

  /**
   * @param path The file that has it
   * @param specialTokens Texts that it may name
   * @param date What `strftime_now` gives, `YYYY-MM-DD`, at 0:00
   * @throws {Error} If it is no template in Jinja.
   */
  constructor(
    source: string,
    readonly path: string,
    private readonly specialTokens: Readonly<
      Record<string, string | undefined>
    >,
    private readonly date: string | undefined,
  ) {
    this.#template = adapted(new Template(source));
  }

  /**
   * @param isPrompt Whether what the assistant says next follows
   * @throws {Error} If the template refuses the messages.
   */
  render(messages: readonly Message[], isPrompt: boolean): string {
    return this.#template.render({
      ...this.specialTokens,
      ...STRIPS,
      [DATE_FUNCTION]: (format: string) => {
        if (this.date !== undefined) return strftime(this.date, format);
        throw new Error('It asks for the date: give one as "date"');
      },
      messages,
      add_generation_prompt: isPrompt,
      tools: null,
      documents: null,
    });
  }

  /**
   * What stands around an answer to these messages.
   *
   * @throws {Error} If no answer is in the rendering.
   */
  around(messages: readonly Message[]): AnswerFrame {
    const prompt = this.render(messages, true);
    const answer = { role: "assistant", content: ANSWER };
    const all = this.render([...messages, answer], false);
    const start = all.lastIndexOf(ANSWER);
    if (start < 0) {
      const number = messages.length === 1
        ? "a message"
        : `${messages.length} messages`;
      throw new Error(
        `What it renders has no answer to ${number} in it, so that nothing would be learnt: use the template of the model, or write "prompt" and "completion" instead of messages`,
      );
    }
    return {
      prompt,
      before: all.slice(prompt.length, start),
      after: all.slice(start + ANSWER.length),
    };
  }
}

/**
 * Python's `date.strftime(format)` in the C locale, as far as templates use it.
 */
function strftime(date: string, format: string): string {
  const at = new Date(`${date}T00:00:00Z`);
  const part = (options: Intl.DateTimeFormatOptions) =>
    at.toLocaleString("en-US", { ...options, timeZone: "UTC" });
  const [year, month, day] = date.split("-") as [string, string, string];
  const parts: Readonly<Record<string, string>> = {
    "%Y": year,
    "%y": year.slice(-2),
    "%m": month,
    "%-m": String(Number(month)),
    "%d": day,
    "%-d": String(Number(day)),
    "%e": String(Number(day)).padStart(2),
    "%B": part({ month: "long" }),
    "%b": part({ month: "short" }),
    "%A": part({ weekday: "long" }),
    "%a": part({ weekday: "short" }),
    "%F": date,
    "%H": "00",
    "%I": "12",
    "%M": "00",
    "%S": "00",
    "%p": "AM",
    "%%": "%",
  };
  return format.replace(/%-?./gu, (directive) => {
    const text = parts[directive];
    if (text !== undefined) return text;
    throw new Error(
      `Its date format "${format}" has "${directive}", which is not supported`,
    );
  });
}

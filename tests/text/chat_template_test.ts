/** Conversations beside transformers' apply_chat_template (fixtures/chat_templates.py). */
import {
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import {
  ARCHITECTURES,
  tokenizerDefaults,
} from "../../lib/engine/models/registry.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import { fixture } from "../engine/reference.ts";
import { withFolder } from "../tasks/run_task.ts";

interface Case {
  readonly name: string;
  readonly template: string;
  readonly messages: readonly { role: string; content: string }[];
  readonly prompt: { readonly text: string; readonly ids: readonly number[] };
  readonly whole: { readonly text: string; readonly ids: readonly number[] };
}

const cases: readonly Case[] = JSON.parse(
  Deno.readTextFileSync(fixture("references/chat_templates.json")),
);
const llama = ARCHITECTURES.find(({ className }) => className === "Llama")!;
const FILES = ["config.json", "tokenizer.json", "tokenizer_config.json"];

/** The tokenizer of the tiny Llama with other settings, or a file with a template. */
async function tokenizerWith(
  settings: object,
  maxLength = 512,
  template?: string,
  date?: string,
): Promise<ModelTokenizer> {
  let tokenizer: ModelTokenizer;
  await withFolder(async (folder) => {
    for (const name of FILES) {
      Deno.copyFileSync(fixture(`tiny-llama/${name}`), join(folder, name));
    }
    const path = join(folder, "tokenizer_config.json");
    const config = JSON.parse(Deno.readTextFileSync(path));
    Deno.writeTextFileSync(path, JSON.stringify({ ...config, ...settings }));
    if (template !== undefined) {
      Deno.writeTextFileSync(join(folder, "chat_template.jinja"), template);
    }
    const defaults = tokenizerDefaults(llama);
    tokenizer = await ModelTokenizer.load(folder, defaults, maxLength, date);
  });
  return tokenizer!;
}

for (const { name, template, messages, prompt, whole } of cases) {
  Deno.test(`encodePrompt() renders ${messages.length} messages as transformers does, ${name}`, async () => {
    for (
      const tokenizer of [
        await tokenizerWith({ chat_template: template }),
        await tokenizerWith({ chat_template: [{ name: "default", template }] }),
        await tokenizerWith({ chat_template: "other" }, 512, template),
      ]
    ) {
      assertEquals(
        tokenizer.encodePrompt({ text: "", messages: messages.slice(0, -1) }),
        [...prompt.ids],
      );
    }
  });

  if (!whole.text.startsWith(prompt.text)) continue;
  Deno.test(`encodeCompletion() goes on as transformers' conversation does, ${name}, ${messages.length} messages`, async () => {
    const tokenizer = await tokenizerWith({ chat_template: template });
    const { ids, readAt, labels, truncated } = tokenizer.encodeCompletion(
      { text: "", messages: messages.slice(0, -1) },
      messages.at(-1)!.content,
    );
    // The newline behind the end is not trained.
    assertEquals(ids, whole.ids.slice(0, whole.ids.lastIndexOf(2) + 1));
    assertEquals(ids.at(-1), tokenizer.ends(true)[0]);
    assertEquals(truncated, false);
    assertEquals(labels, ids.slice(prompt.ids.length));
    assertEquals(readAt[0], prompt.ids.length - 1);
  });
}

Deno.test("encodeCompletion() ends a text by the model's own token, and cuts prompts at the beginning, texts at the end", async () => {
  const [short, whole] = [await tokenizerWith({}, 4), await tokenizerWith({})];
  const encode = (it: ModelTokenizer, text: string, completion: string) =>
    it.encodeCompletion({ text }, completion);
  assertEquals(encode(whole, "abc", "de"), {
    ids: [67, 68, 69, 70, 71, 2],
    readAt: [2, 3, 4],
    labels: [70, 71, 2],
    truncated: false,
    isCut: false,
  });
  assertEquals(encode(short, "abc", "de"), {
    ids: [69, 70, 71, 2],
    readAt: [0, 1, 2],
    labels: [70, 71, 2],
    truncated: true,
    isCut: false,
  });
  assertEquals(encode(short, "abc", "defg").isCut, true);
  assertEquals(encode(short, "abc", "defg").labels.length, 3);
  assertEquals(encode(whole, "", "de").labels, [71, 2]);
});

Deno.test("decode() keeps the spaces before punctuation, as transformers does with BPE", async () => {
  for (const clean_up_tokenization_spaces of [true, false]) {
    const tokenizer = await tokenizerWith({ clean_up_tokenization_spaces });
    const ids = tokenizer.encodePrompt({ text: "a . b != c" });
    assertEquals(tokenizer.decode(ids), "a . b != c");
  }
});

Deno.test("decode() gives an answer without what the template puts before it", async () => {
  const block = "<think>\n\n</think>\n\n";
  const template = cases.find(({ name }) => name === "mistral")!.template;
  for (const before of [block, "<|im_start|> ", " ", ""]) {
    const tokenizer = await tokenizerWith({
      chat_template: template.replace("' ' +", `${JSON.stringify(before)} +`),
    });
    const messages = [{ role: "user", content: "and\nnow?" }];
    const decoded = (completion: string, isChat: boolean) =>
      tokenizer.decode(
        tokenizer.encodeCompletion({ text: "", messages }, completion).labels,
        isChat,
      );
    assertEquals(decoded("never .", true), "never .");
    const shown = before.replace("<|im_start|>", "");
    assertEquals(decoded("never .", false), `${shown}never .`);
    assertEquals(tokenizer.decode([67, 68], true), "ab");
  }
});

Deno.test("ends() has the token of the template where prompts are messages, and that of the tokenizer", async () => {
  const template = cases.find(({ name }) => name === "smollm2")!.template;
  const eos_token = "<|endoftext|>";
  const messages = [{ role: "user", content: "a" }];
  const endsOf = async (settings: object) => {
    const tokenizer = await tokenizerWith(settings);
    const { ids } = tokenizer.encodeCompletion({ text: "a", messages }, "b");
    return [ids.at(-1), tokenizer.ends(true), tokenizer.ends(false)];
  };
  const other = { chat_template: template, eos_token };
  assertEquals(await endsOf(other), [2, [2, 0], [0]]);
  const bare = { chat_template: "{{ messages[1].content }}", eos_token };
  assertEquals(await endsOf(bare), [0, [0], [0]]);
  const nameless = await tokenizerWith({ ...other, eos_token: null });
  assertEquals(nameless.ends(true), [2]);
});

Deno.test("a tokenizer without a template, or without a token that ends texts, is refused with a remedy", async () => {
  const messages = [{ role: "user", content: "a" }];
  const plain = await tokenizerWith({ eos_token: null });
  assertThrows(
    () => plain.encodePrompt({ text: "", messages }),
    SyntaxError,
    'has no chat template for messages: choose a model that has one, or write "prompt" and "completion"',
  );
  assertThrows(
    () => plain.encodeCompletion({ text: "a" }, "b"),
    SyntaxError,
    'has no token that ends a text: name one as "eos_token"',
  );
  const strict = await tokenizerWith({
    chat_template: "{{ raise_exception('no users here') }}",
  });
  assertThrows(
    () => strict.encodePrompt({ text: "", messages }),
    SyntaxError,
    "no users here",
  );
  await assertRejects(
    () => tokenizerWith({ chat_template: 3 }),
    SyntaxError,
    "chat_template",
  );
});

Deno.test("a chat template gets a given date in English, whatever the day, the zone and the language", async () => {
  const messages = [{ role: "user", content: "a" }];
  const dateOf = async (format: string, date?: string) => {
    const template = `{{ strftime_now('${format}') }}`;
    const tokenizer = await tokenizerWith({}, 512, template, date);
    return tokenizer.decode(tokenizer.encodePrompt({ text: "", messages }));
  };
  // Python: date(2024, 7, 5).strftime(format).
  const texts = {
    "%d %b %Y": "05 Jul 2024",
    "%B %-d, %y": "July 5, 24",
    "%A %a %e/%-m/%m": "Friday Fri  5/7/07",
    "%Y-%m-%d %H:%M:%S %I %p %%": "2024-07-05 00:00:00 12 AM %",
    "%F": "2024-07-05",
  };
  for (const [format, text] of Object.entries(texts)) {
    assertEquals(await dateOf(format, "2024-07-05"), text);
  }
  await assertRejects(
    () => dateOf("%d", undefined),
    SyntaxError,
    'asks for the date: give one as "date"',
  );
  await assertRejects(
    () => dateOf("%d %U", "2024-07-05"),
    SyntaxError,
    '"%d %U" has "%U", which is not supported',
  );
});

Deno.test("a chat template whose rendering has no answer is refused with its file", async () => {
  const user = { role: "user", content: "a" };
  const conversation = [user, { role: "assistant", content: "b" }, user];
  const faults = [
    ["", [user]],
    ["You are helpful.", [user]],
    [
      "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
      [user],
    ],
    // It has the first answer only.
    ["{% for m in messages[:2] %}{{ m.content }}{% endfor %}", conversation],
  ] as const;
  for (const [template, messages] of faults) {
    for (
      const [tokenizer, file] of [
        [await tokenizerWith({}, 512, template), "chat_template.jinja"],
        [
          await tokenizerWith({ chat_template: template }),
          "tokenizer_config.json",
        ],
      ] as const
    ) {
      const { message } = assertThrows(
        () => tokenizer.encodeCompletion({ text: "", messages }, "answer"),
        SyntaxError,
        "has no answer to",
      );
      assertStringIncludes(message, `/${file}"`);
    }
  }
});

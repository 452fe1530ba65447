// Classifies texts, or embeds them, by a model folder through the pipeline of transformers.js, for export_onnx_test.ts
// and embeddings_test.ts.
//
// Usage: node transformers_js.mjs REQUEST.json
//
// The request names `modules`, the folder of a package.json, the `task`, the model `folders`, the `texts` and the `options` of
// a call. Prints JSON: for each folder and text the class names with their probabilities, or the embedding.
import { readFileSync } from "node:fs";
import process from "node:process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { modules, task, folders, texts, options } = JSON.parse(
  readFileSync(process.argv[2], "utf8"),
);
const require = createRequire(`${modules}/package.json`);
const { env, pipeline } = await import(
  pathToFileURL(require.resolve("@huggingface/transformers"))
);
env.allowRemoteModels = false;
const answers = [];
for (const folder of folders) {
  const classify = await pipeline(task, folder);
  const answer = await classify(texts, options ?? { top_k: null });
  answers.push(answer.tolist?.() ?? answer);
}
console.log(JSON.stringify(answers));

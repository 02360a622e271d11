// The clients of npm against a port: node smoke.cjs http://127.0.0.1:8080, with NODE_PATH where they are.
const assert = require("node:assert");
const OpenAI = require("openai").OpenAI;
const Anthropic = require("@anthropic-ai/sdk").Anthropic;
const { Ollama } = require("ollama");

const root = process.argv[2];
const model = "edgeinfer-tiny";
const messages = [{ role: "user", content: "How do I download a model?" }];

async function openai() {
  const client = new OpenAI({ baseURL: `${root}/v1`, apiKey: "any", maxRetries: 0 });
  const ask = { model, messages, temperature: 0, max_tokens: 60 };
  const whole = await client.chat.completions.create(ask);
  assert.match(whole.choices[0].message.content, /edgeinfer pull/);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  assert.strictEqual(text, whole.choices[0].message.content);
  const answer = await client.responses.create({ model, input: messages[0].content, temperature: 0 });
  assert.match(answer.output_text, /edgeinfer pull/);
  await assert.rejects(client.embeddings.create({ model, input: "text" }), OpenAI.BadRequestError);
  await assert.rejects(client.chat.completions.create({ ...ask, model: "nobody" }), OpenAI.NotFoundError);
}

async function anthropic() {
  const client = new Anthropic({ baseURL: root, apiKey: "any", maxRetries: 0 });
  const ask = { model, messages, temperature: 0, max_tokens: 60 };
  const whole = await client.messages.create(ask);
  assert.match(whole.content[0].text, /edgeinfer pull/);
  const streamed = await client.messages.stream(ask).finalMessage();
  assert.deepStrictEqual(streamed.content[0].text, whole.content[0].text);
  const { input_tokens } = await client.messages.countTokens({ model, messages });
  const { usage } = whole;
  assert.strictEqual(input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
  await assert.rejects(client.messages.create({ ...ask, model: "nobody" }), Anthropic.NotFoundError);
}

async function ollama() {
  const client = new Ollama({ host: root });
  const ask = { model, messages, options: { temperature: 0, num_predict: 60 } };
  const whole = await client.chat(ask);
  assert.match(whole.message.content, /edgeinfer pull/);
  let text = "";
  for await (const part of await client.chat({ ...ask, stream: true })) text += part.message.content;
  assert.strictEqual(text, whole.message.content);
  const { models } = await client.list();
  assert.ok(models.some(({ name }) => name.startsWith(model)));
  assert.ok((await client.show({ model })).details.family);
  await assert.rejects(client.chat({ ...ask, model: "nobody" }), /nobody/);
}

(async () => {
  for (const client of [openai, anthropic, ollama]) {
    await client();
    console.log(`${client.name} ok`);
  }
})();

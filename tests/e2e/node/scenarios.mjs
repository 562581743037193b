// Drives the gateway with OpenAI's Node client and prints what came back as one JSON object: scenario -> result.
// Environment: BASE_URL, API_KEY, LIMITED_KEY (one request a minute). Nothing but these differs from normal use.
import OpenAI from "openai";

const { BASE_URL: baseURL, API_KEY: apiKey, LIMITED_KEY: limitedKey } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = "demo-small";
const messages = [{ role: "user", content: "Say hello" }];
const tool = (name, properties) => ({
  type: "function",
  function: {
    name,
    strict: true,
    parameters: { type: "object", properties, required: Object.keys(properties), additionalProperties: false },
  },
});
const tools = [
  tool("get_weather", { city: { type: "string" }, unit: { enum: ["c", "f"] } }),
  tool("get_time", { zone: { type: "string" } }),
];
const person = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};

const all = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
const failure = async (work) => {
  try {
    await work();
    return { raised: null };
  } catch (error) {
    return {
      raised: error.constructor.name,
      status: error.status ?? null,
      code: error.code ?? null,
      message: error.message,
      request: error.requestID ?? null,
      retryAfter: error.headers?.get?.("retry-after") ?? null,
    };
  }
};
const told = (demo) => ({ model, messages, demo });

const scenarios = {
  async chat() {
    const { data, request_id } = await client.chat.completions.create({ model, messages }).withResponse();
    return { text: data.choices[0].message.content, finish: data.choices[0].finish_reason, usage: data.usage, request_id };
  },
  async stream() {
    const chunks = await all(await client.chat.completions.create({ model, messages, stream: true }));
    return { text: textOf(chunks), finish: chunks.at(-1).choices[0].finish_reason, usage: chunks.some((c) => c.usage) };
  },
  async stream_with_usage() {
    const stream_options = { include_usage: true };
    const chunks = await all(await client.chat.completions.create({ model, messages, stream: true, stream_options }));
    return { choices: chunks.at(-1).choices, usage: chunks.at(-1).usage };
  },
  async forced_tool() {
    const tool_choice = { type: "function", function: { name: "get_time" } };
    const reply = await client.chat.completions.create({ model, messages, tools, tool_choice });
    return reply.choices[0].message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
  },
  async parallel_tools_streamed() {
    const content = "Call both get_weather and get_time.";
    const runner = client.chat.completions.stream({ model, messages: [{ role: "user", content }], tools });
    const final = await runner.finalChatCompletion();
    return final.choices[0].message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
  },
  async structured_output() {
    const response_format = { type: "json_schema", json_schema: { name: "person", strict: true, schema: person } };
    const reply = await client.chat.completions.parse({ model, messages, response_format });
    return JSON.parse(reply.choices[0].message.content);
  },
  async embeddings() {
    const input = ["alpha", "beta gamma"];
    const packed = await client.embeddings.create({ model: "demo-embed", input });
    const plain = await client.embeddings.create({ model: "demo-embed", input, encoding_format: "float" });
    const far = (a, b) => Math.max(...a.map((value, at) => Math.abs(value - b[at])));
    return {
      sizes: packed.data.map((item) => item.embedding.length),
      difference: Math.max(...packed.data.map((item, at) => far(item.embedding, plain.data[at].embedding))),
      usage: packed.usage,
    };
  },
  async models() {
    const names = [];
    for await (const one of client.models.list()) names.push(one.id);
    return { names, one: await client.models.retrieve("demo/demo-large") };
  },
  wrong_key: () => failure(() => new OpenAI({ baseURL, apiKey: "sk-gw-no", maxRetries: 0 }).models.list()),
  unknown_model: () => failure(() => client.chat.completions.create({ model: "demo-smal", messages })),
  bad_request: () => failure(() => client.chat.completions.create({ model, messages: "hello" })),
  bad_streamed_request: () => failure(() => client.chat.completions.create({ model, messages: [], stream: true })),
  async rate_limit() {
    const limited = new OpenAI({ baseURL, apiKey: limitedKey, maxRetries: 0 });
    await limited.chat.completions.create({ model, messages });
    return failure(() => limited.chat.completions.create({ model, messages }));
  },
  async retry_after_is_honoured() {
    const patient = new OpenAI({ baseURL, apiKey, maxRetries: 1 });
    const began = performance.now();
    const demo = { fail: 429, fail_times: 1, retry_after: 1 };
    const reply = await patient.chat.completions.create({ ...told(demo), user: "node" });
    return { finish: reply.choices[0].finish_reason, seconds: (performance.now() - began) / 1000 };
  },
  async failing_upstream() {
    const trying = new OpenAI({ baseURL, apiKey, maxRetries: 1 });
    return failure(() => trying.chat.completions.create(told({ fail: 500 })));
  },
  async error_in_stream() {
    let seen = 0;
    const outcome = await failure(async () => {
      const stream = await client.chat.completions.create({ ...told({ error_mid: 4 }), stream: true });
      for await (const _ of stream) seen += 1;
    });
    return { ...outcome, seen };
  },
  async cut_stream() {
    let seen = 0;
    const outcome = await failure(async () => {
      const stream = await client.chat.completions.create({ ...told({ cut_after: 4 }), stream: true });
      for await (const _ of stream) seen += 1;
    });
    return { ...outcome, seen };
  },
  async cancelled_stream() {
    const ask = client.chat.completions.create({ ...told({ chunk_delay_ms: 100, size: 200 }), stream: true });
    const { data, request_id } = await ask.withResponse();
    for await (const chunk of data) if (chunk.choices[0].delta.content) break;
    return { request_id };
  },
  client_timeout: () =>
    failure(() => client.chat.completions.create(told({ hang: "before_headers" }), { timeout: 1000 })),
};

const results = {};
for (const [name, run] of Object.entries(scenarios)) {
  try {
    results[name] = await run();
  } catch (error) {
    results[name] = { unexpected: String(error?.stack ?? error) };
  }
}
process.stdout.write(JSON.stringify(results));
process.exit(0);

// Drives the gateway with Anthropic's Node client and prints what came back as one JSON object: scenario -> result.
// Environment: ROOT_URL, API_KEY, LIMITED_KEY (one request a minute). Nothing but these differs from normal use.
import Anthropic from "@anthropic-ai/sdk";

const { ROOT_URL: baseURL, API_KEY: apiKey, LIMITED_KEY: limitedKey } = process.env;
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const asked = { model: "demo-small", max_tokens: 200, messages: [{ role: "user", content: "Say hello" }] };
const tools = [
  {
    name: "get_weather",
    description: "The weather.",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];
const failure = async (work) => {
  try {
    await work();
    return { raised: null };
  } catch (error) {
    return {
      raised: error.constructor.name,
      status: error.status ?? null,
      type: error.error?.error?.type ?? null,
      message: error.message,
      retryAfter: error.headers?.get?.("retry-after") ?? null,
    };
  }
};

const scenarios = {
  async message() {
    const { data, request_id } = await client.messages.create(asked).withResponse();
    return { text: data.content[0].text, stop: data.stop_reason, usage: data.usage, request_id };
  },
  async stream() {
    const events = [];
    const stream = client.messages.stream(asked).on("streamEvent", (event) => events.push(event.type));
    const whole = await stream.finalMessage();
    return { text: whole.content[0].text, stop: whole.stop_reason, usage: whole.usage, events: [...new Set(events)] };
  },
  async under_anthropic() {
    const other = new Anthropic({ baseURL: `${baseURL}/anthropic`, apiKey, maxRetries: 0 });
    return { text: (await other.messages.create(asked)).content[0].text };
  },
  async forced_tool() {
    const choice = { type: "tool", name: "get_weather" };
    const reply = await client.messages.create({ ...asked, tools, tool_choice: choice });
    const stream = client.messages.stream({ ...asked, tools, tool_choice: choice });
    const blocks = (message) => message.content.filter((block) => block.type === "tool_use").map((b) => [b.name, b.input]);
    return { whole: blocks(reply), stop: reply.stop_reason, streamed: blocks(await stream.finalMessage()) };
  },
  async count() {
    const { model, messages } = asked;
    return await client.messages.countTokens({ model, messages });
  },
  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return { names, one: await client.models.retrieve("demo-large") };
  },
  wrong_key: () => failure(() => new Anthropic({ baseURL, apiKey: "sk-gw-no", maxRetries: 0 }).messages.create(asked)),
  unknown_model: () => failure(() => client.messages.create({ ...asked, model: "nope" })),
  bad_request: () => failure(() => client.messages.create({ ...asked, messages: "no" })),
  failing_upstream: () => failure(() => client.messages.create({ ...asked, demo: { fail: 500 } })),
  async rate_limit() {
    const limited = new Anthropic({ baseURL, apiKey: limitedKey, maxRetries: 0 });
    await limited.messages.create(asked);
    return await failure(() => limited.messages.create(asked));
  },
  error_in_stream: () => failure(() => client.messages.stream({ ...asked, demo: { cut_after: 3 } }).finalMessage()),
};

const results = {};
for (const [name, run] of Object.entries(scenarios)) results[name] = await run();
console.log(JSON.stringify(results));

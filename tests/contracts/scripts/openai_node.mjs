// OpenAI's library for Node. Arguments: the address of the service, the name of a case. Prints what the case found, as JSON.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [url, name] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "Hi" }];
const City = z.object({ name: z.string(), population: z.number().int() });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const tool = { type: "function", function: { name: "get_weather", description: "The weather.", parameters } };
const responseTool = { type: "function", name: "get_weather", description: "The weather.", parameters, strict: true };

// The tool as the runner wants it: with the function that it calls, and how to read its arguments.
function runnable(calls) {
  const call = async (given) => {
    calls.push(given);
    return "sunny";
  };
  return { type: "function", function: { ...tool.function, function: call, parse: JSON.parse } };
}

async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    return [error.constructor.name, error.status, error.code, error.param];
  }
  return [];
}

const cases = {
  async chat() {
    const answer = await client.chat.completions.create({ model: "echo", messages });
    const { message, finish_reason: finish } = answer.choices[0];
    return { content: message.content, finish, model: answer.model, request_id: Boolean(answer._request_id) };
  },

  async stream() {
    const stream_options = { include_usage: true };
    const stream = await client.chat.completions.create({ model: "echo", messages, stream: true, stream_options });
    const found = { text: "", finish: [], usage: false };
    for await (const chunk of stream) {
      found.text += chunk.choices[0]?.delta.content ?? "";
      if (chunk.choices[0]?.finish_reason) found.finish.push(chunk.choices[0].finish_reason);
      found.usage ||= chunk.usage?.total_tokens > 0;
    }
    return found;
  },

  async stream_helper() {
    const runner = client.chat.completions.stream({ model: "echo", messages });
    let text = "";
    runner.on("content", (delta) => (text += delta));
    return { text, final: await runner.finalContent(), text_at_end: text };
  },

  async logprobs() {
    const answer = await client.chat.completions.create({
      model: "echo", messages, logprobs: true, top_logprobs: 2, max_tokens: 3,
    });
    return answer.choices[0].logprobs.content.map((entry) => [entry.token, entry.logprob > -0.01, entry.top_logprobs.length]);
  },

  async run_tools() {
    const calls = [];
    const runner = client.chat.completions.runTools({ model: "caller", messages, tools: [runnable(calls)] });
    return { final: await runner.finalContent(), calls, roles: runner.messages.map((message) => message.role) };
  },

  async run_tools_stream() {
    const calls = [];
    const runner = client.chat.completions.runTools({ model: "caller", messages, tools: [runnable(calls)], stream: true });
    return { final: await runner.finalContent(), calls, roles: runner.messages.map((message) => message.role) };
  },

  async parse() {
    const response_format = zodResponseFormat(City, "city");
    return (await client.chat.completions.parse({ model: "city", messages, response_format })).choices[0].message.parsed;
  },

  async parse_tool() {
    const tools = [zodFunction({ name: "get_weather", parameters: z.object({ city: z.string() }) })];
    const answer = await client.chat.completions.parse({ model: "caller", messages, tools });
    return answer.choices[0].message.tool_calls[0].function.parsed_arguments;
  },

  async completions() {
    const prompt = "<|im_start|>assistant\n";
    const answer = await client.completions.create({ model: "echo", prompt, max_tokens: 9 });
    return { text: answer.choices[0].text, finish: answer.choices[0].finish_reason };
  },

  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids: ids.sort(), one: (await client.models.retrieve("echo")).id };
  },

  async response() {
    const first = await client.responses.create({ model: "echo", input: "Hi", store: true });
    const second = await client.responses.create({ model: "echo", input: "More", previous_response_id: first.id });
    const again = await client.responses.retrieve(first.id);
    return { texts: [first.output_text, second.output_text, again.output_text ?? again.output[0].content[0].text] };
  },

  async response_stream() {
    const found = { kinds: [], text: "" };
    for await (const event of await client.responses.create({ model: "echo", input: "Hi", stream: true })) {
      if (!found.kinds.includes(event.type)) found.kinds.push(event.type);
      if (event.type === "response.output_text.delta") found.text += event.delta;
    }
    return found;
  },

  async response_helper() {
    const final = await client.responses.stream({ model: "echo", input: "Hi" }).finalResponse();
    return final.output_text;
  },

  async response_parse() {
    const text = { format: zodTextFormat(City, "city") };
    return (await client.responses.parse({ model: "city", input: messages, text })).output_parsed;
  },

  async response_tools() {
    const first = await client.responses.create({ model: "caller", input: messages, tools: [responseTool] });
    const call = first.output.find((item) => item.type === "function_call");
    const result = { type: "function_call_output", call_id: call.call_id, output: "sunny" };
    const input = [...messages, ...first.output, result];
    const second = await client.responses.create({ model: "caller", input, tools: [responseTool] });
    return { call: [call.name, JSON.parse(call.arguments)], answer: second.output_text };
  },

  async errors() {
    return {
      missing: await errorOf(() => client.chat.completions.create({ model: "no-such", messages })),
      value: await errorOf(() => client.chat.completions.create({ model: "echo", messages, temperature: 3 })),
      stream: await errorOf(() => client.chat.completions.create({ model: "echo", messages, temperature: 3, stream: true })),
      responses: await errorOf(() => client.responses.create({ model: "no-such", input: "Hi" })),
    };
  },
};

console.log(JSON.stringify(await cases[name]()));

// npm `foundry-local-sdk` 0.3 and 0.5: from nothing to an answer, as its README does it. Arguments: an alias, another alias,
// the version.
import { FoundryLocalManager } from "foundry-local-sdk";
import OpenAI from "openai";

const [alias, other, version] = process.argv.slice(2);
const device = version.startsWith("0.3.") ? [] : [undefined]; // a parameter that came later
const ids = (models) => models.map((model) => model.id).sort();

async function ask(manager, model) {
  const client = new OpenAI({ baseURL: manager.endpoint, apiKey: manager.apiKey, maxRetries: 0 });
  const messages = [{ role: "user", content: "Hi" }];
  const whole = await client.chat.completions.create({ model, messages });
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  return { whole: whole.choices[0].message.content, stream: text };
}

const manager = new FoundryLocalManager();
const info = await manager.init(alias);
const facts = {
  is_running: await manager.isServiceRunning(),
  endpoint: manager.endpoint,
  catalog: Object.fromEntries((await manager.listCatalogModels()).map((model) => [model.id, model.alias])),
  info: { id: info.id, alias: info.alias, uri: info.uri, version: String(info.version) },
  unknown: await manager.getModelInfo("no-such-model"),
  cache: await manager.getCacheLocation(),
  cached: ids(await manager.listCachedModels()),
  loaded: ids(await manager.listLoadedModels()),
  answer: await ask(manager, info.id),
};
await manager.unloadModel(alias);
facts["loaded after unload"] = ids(await manager.listLoadedModels());
const progress = [];
facts.downloaded = (await manager.downloadModel(other, ...device, undefined, false, (percent) => progress.push(percent))).id;
facts.progress = progress;
facts["cached after download"] = ids(await manager.listCachedModels());
facts["load answer"] = (await manager.loadModel(other, ...device, 60)).id;
facts["loaded at the end"] = ids(await manager.listLoadedModels());
facts.upgradeable = device.length ? await manager.isModelUpgradeable(other) : false;
await manager.unloadModel(other, ...device, true);
console.log(JSON.stringify(facts));

// What both TypeScript drivers do with a connected client; prints what it saw as one JSON line.
// Arguments of the drivers: the folder with node_modules, the address, the transport (http or sse),
// the mode, and --pause to wait for a line on standard input between two calls, or --calls JSON to
// make these calls ([[tool, arguments], …]) as a client that answers nothing.

import { createInterface } from 'node:readline';

export const seen = { progress: [], logs: [], problems: {} };

const at = process.argv.indexOf('--calls');
export const given = at < 0 ? null : JSON.parse(process.argv[at + 1]);
export const capabilities = given ? {} : { elicitation: {}, sampling: {}, roots: {} };

export const answers = {
  elicit: async () => ({ action: 'accept', content: { name: 'Ada' } }),
  sample: async (request) => {
    const asked = request.params.messages[0].content;
    const text = `sampled ${(Array.isArray(asked) ? asked[0] : asked).text}`;
    return { role: 'assistant', model: 'none', content: { type: 'text', text } };
  },
  roots: async () => ({ roots: [{ uri: 'file:///work' }] }),
  log: (notification) => void seen.logs.push(notification.params.data),
};

function result(raw) {
  return {
    is_error: Boolean(raw.isError),
    text: raw.content[0]?.text ?? '',
    types: raw.content.map((block) => block.type),
    structured: raw.structuredContent ?? null,
  };
}

async function step(name, work) {
  try {
    seen[name] = await work();
  } catch (error) {
    if (typeof error.code === 'number') seen[name] = { code: error.code, message: error.message };
    else seen.problems[name] = `${error.name}: ${error.message}`;
  }
}

function say(value) {
  process.stdout.write(JSON.stringify(value) + '\n');
}

async function allResources(client) {
  let count = 0;
  let cursor;
  do {
    const page = await client.listResources(cursor === undefined ? {} : { cursor });
    count += page.resources.length;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return count;
}

export async function run(client, { pause, modern, count, sessionId }) {
  const call = async (name, args = {}) => result(await client.callTool({ name, arguments: args }));
  const onprogress = (p) => seen.progress.push([p.progress, p.total, p.message ?? null]);
  // The pauses are long, because this client loses progress that arrives together with the result.
  const counting = async () => result(await count({ name: 'count', arguments: { steps: 3, pause_ms: 150 } }, { onprogress }));
  const names = async () => (await client.listTools()).tools.map((tool) => tool.name);
  if (given) {
    await step('tools', names);
    for (const [number, [tool, args]] of given.entries()) {
      await step(`call ${number}`, () => call(tool, args));
    }
  } else if (pause) {
    await step('before', () => call('add', { a: 1, b: 1 }));
    say({ paused: true, session: sessionId() ?? null });
    const lines = createInterface({ input: process.stdin });
    await new Promise((resolve) => lines.once('line', resolve));
    lines.close();
    await step('after', () => call('add', { a: 2, b: 2 }));
    await step('count', counting);
    await step('elicited', () => call('ask_name'));
    seen.session_after = sessionId() ?? null;
  } else {
    await step('tools', names);
    await step('add', () => call('add', { a: 2, b: 3 }));
    await step('count', counting);
    await step('fail', () => call('fail'));
    await step('bad', () => call('add', { a: 'two', b: 3 }));
    await step('unknown', () => call('ad'));
    await step('numbers', () => call('numbers'));
    await step('media', () => call('media'));
    await step('lookup', () => call('lookup', { region: 'Zürich', row: 7, exact: true }));
    await step('resources', () => allResources(client));
    const read = async (uri) => (await client.readResource({ uri })).contents[0].text;
    await step('read', () => read('demo://book/moby/7'));
    const prompt = async (name, args) =>
      (await client.getPrompt({ name, arguments: args })).messages[0].content.text;
    await step('prompt', () => prompt('explain', { topic: 'tides' }));
    const ref = { type: 'ref/prompt', name: 'explain' };
    const argument = { name: 'language', value: 'E' };
    await step('completed', async () => (await client.complete({ ref, argument })).completion.values);
    await step('sampled', () => call('ask_model', { text: 'hi' }));
    await step('roots', () => call('ask_roots'));
    await step('elicited', () => call('ask_name'));
    await step('twice', () => call('ask_twice'));
    await step('all', () => call('ask_all'));
    if (modern) {
      await step('guarded', () => read('demo://guarded'));
      await step('interview', () => prompt('interview', {}));
    }
  }
  say(seen);
}

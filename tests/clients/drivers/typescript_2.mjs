// Drive the demo server with the 2.x TypeScript client, in the mode legacy, auto or pin.

import { createRequire } from 'node:module';
import { answers, capabilities, given, run, seen } from './steps.mjs';

const [folder, address, transportName, modeName] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { Client, SSEClientTransport, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');

const Transport = transportName === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
const transport = new Transport(new URL(address));
const mode = modeName === 'pin' ? { pin: '2026-07-28' } : modeName;
const client = new Client(
  { name: 'typescript-2', version: '1' },
  { capabilities, versionNegotiation: { mode } },
);
if (!given) {
  client.setRequestHandler('elicitation/create', answers.elicit);
  client.setRequestHandler('sampling/createMessage', answers.sample);
  client.setRequestHandler('roots/list', answers.roots);
  client.setNotificationHandler('notifications/message', answers.log);
}
await client.connect(transport);
seen.server = client.getServerVersion()?.name;
seen.revision = client.getNegotiatedProtocolVersion?.() ?? null;
await run(client, {
  pause: process.argv.includes('--pause'),
  modern: modeName !== 'legacy',
  count: (params, options) => {
    if (modeName === 'legacy') return client.callTool(params, options);
    const level = { 'io.modelcontextprotocol/logLevel': 'info' };
    return client.callTool({ ...params, _meta: level }, options);
  },
  sessionId: () => transport.sessionId,
});
if (modeName === 'legacy' && transport.terminateSession) await transport.terminateSession();
await client.close();

// Drive the demo server with the 1.x TypeScript SDK.

import { createRequire } from 'node:module';
import { answers, capabilities, given, run, seen } from './steps.mjs';

const [folder, address, transportName] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { SSEClientTransport } = require('@modelcontextprotocol/sdk/client/sse.js');
const { WebSocketClientTransport } = require('@modelcontextprotocol/sdk/client/websocket.js');
const types = require('@modelcontextprotocol/sdk/types.js');

const Transport = {
  http: StreamableHTTPClientTransport,
  sse: SSEClientTransport,
  ws: WebSocketClientTransport,
}[transportName];
const transport = new Transport(new URL(address));
// A WebSocket has no header for the revision, so this transport is not told it otherwise.
transport.setProtocolVersion ??= (version) => { transport.protocolVersion = version; };
const client = new Client(
  { name: 'typescript-1', version: '1' },
  { capabilities },
);
if (!given) {
  client.setRequestHandler(types.ElicitRequestSchema, answers.elicit);
  client.setRequestHandler(types.CreateMessageRequestSchema, answers.sample);
  client.setRequestHandler(types.ListRootsRequestSchema, answers.roots);
  client.setNotificationHandler(types.LoggingMessageNotificationSchema, answers.log);
}
await client.connect(transport);
seen.server = client.getServerVersion()?.name;
seen.revision = transport.protocolVersion ?? transport._protocolVersion ?? null;
await run(client, {
  pause: process.argv.includes('--pause'),
  modern: false,
  count: (params, options) => client.callTool(params, undefined, options),
  sessionId: () => transport.sessionId,
});
if (transport.terminateSession) await transport.terminateSession();
await client.close();

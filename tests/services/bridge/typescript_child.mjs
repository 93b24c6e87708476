// A server on the official TypeScript library 2.x that refuses the legacy revisions.
// Argument: the folder that the library is installed in.

import { createRequire } from 'node:module';

const require = createRequire(`${process.argv[2]}/`);
const { McpServer } = require('@modelcontextprotocol/server');
const { serveStdio } = require('@modelcontextprotocol/server/stdio');
const z = require('zod');

function create() {
  const server = new McpServer({ name: 'typescript', version: '1' }, { capabilities: { logging: {} } });
  const input = z.object({ a: z.number(), b: z.number() });
  server.registerTool('add', { description: 'Add two numbers.', inputSchema: input }, async ({ a, b }, context) => {
    await context.mcpReq.log('info', `${a} and ${b}`);
    return { content: [{ type: 'text', text: String(a + b) }] };
  });
  server.registerTool('grow', { description: 'Add a tool.', inputSchema: z.object({}) }, async () => {
    server.registerTool('another', { description: 'New.', inputSchema: z.object({}) }, async () => ({ content: [] }));
    return { content: [] };
  });
  return server;
}

serveStdio(create, { legacy: 'reject' });

// The smallest server on the official SDK, over stdio: `node child.mjs FOLDER`, where FOLDER/node_modules
// has the SDK. The tool echo says its message again, the tool blob says that many mebibytes.

import { createRequire } from 'node:module';

const require = createRequire(`${process.argv[2]}/`);
const { McpServer } = require('@modelcontextprotocol/sdk/server/mcp.js');
const { StdioServerTransport } = require('@modelcontextprotocol/sdk/server/stdio.js');
const { z } = require('zod');

const MEBIBYTE = 'x'.repeat(1024 * 1024);
const text = (said) => ({ content: [{ type: 'text', text: said }] });

const server = new McpServer({ name: 'minimal', version: '1.0.0' });
const echo = { description: 'Say a message again.', inputSchema: { message: z.string() } };
server.registerTool('echo', echo, async ({ message }) => text(`Echo: ${message}`));
const blob = { description: 'Say much.', inputSchema: { mebibytes: z.number().int() } };
server.registerTool('blob', blob, async ({ mebibytes }) => text(MEBIBYTE.repeat(mebibytes)));
await server.connect(new StdioServerTransport());

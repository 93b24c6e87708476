// A stdio MCP server in Node.js without packages: it shows that the bridge's image can run one.
import { createInterface } from "node:readline";

const schema = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };
const results = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: "echo", version: process.version },
  }),
  ping: () => ({}),
  "tools/list": () => ({
    tools: [{ name: "echo", description: "Return a text.", inputSchema: schema }],
  }),
  "tools/call": ({ arguments: { text } }) => ({ content: [{ type: "text", text }] }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue;
  const answer = results[method]
    ? { result: results[method](params ?? {}) }
    : { error: { code: -32601, message: `no ${method} here` } };
  process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", id, ...answer })}\n`);
}

// Log in and call a tool with the 1.x TypeScript client; print what it saw as JSON.
//
// Arguments: the folder with its packages, the address of `/mcp`, and whom to log in as.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, address, name] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const load = (path) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${path}`)));
const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const { UnauthorizedError } = await load("client/auth.js");

const CALLBACK = "http://127.0.0.1:1/callback";
const kept = { urls: [] };

// What a client keeps, and where it sends the person.
const provider = {
  redirectUrl: CALLBACK,
  clientMetadata: {
    client_name: "oauth-typescript", redirect_uris: [CALLBACK], token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
    application_type: "native",
  },
  state: () => "state-of-the-tests",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  codeVerifier: () => kept.verifier,
  redirectToAuthorization: (url) => { kept.urls.push(url); },
};

// What a person does in a browser: log in, agree; returns what the callback was told.
async function logIn(start) {
  const cookies = new Map();
  let [url, form] = [String(start), undefined];
  for (let page = 0; page < 20; page += 1) {
    const cookie = [...cookies].map(([key, value]) => `${key}=${value}`).join("; ");
    const response = await fetch(url, {
      redirect: "manual", headers: { cookie }, method: form ? "POST" : "GET", body: form,
    });
    for (const set of response.headers.getSetCookie()) {
      const [key, value] = set.split(";")[0].split("=");
      if (value) cookies.set(key, value); else cookies.delete(key);
    }
    const location = response.headers.get("location");
    form = undefined;
    if (location) {
      url = new URL(location, url).href;
      if (url.startsWith(CALLBACK)) return new URL(url).searchParams;
      continue;
    }
    const text = await response.text();
    url = text.match(/<form[^>]*action="([^"]+)"/)[1];
    form = new URLSearchParams({ login: name, password: "any" });
    for (const [, key, value] of text.matchAll(/type="hidden" name="([^"]+)" value="([^"]*)"/g)) {
      form.set(key, value);
    }
  }
  throw new Error("the authorisation server does not send the person back");
}

async function connect() {
  const transport = new StreamableHTTPClientTransport(new URL(address), { authProvider: provider });
  const client = new Client({ name: "oauth-typescript", version: "1" });
  try {
    await client.connect(transport);
    return client;
  } catch (error) {
    if (!(error instanceof UnauthorizedError) || kept.tokens) throw error;
    await transport.finishAuth((await logIn(kept.urls[0])).get("code"));
    return connect();
  }
}

const client = await connect();
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const result = await client.callTool({ name: "add", arguments: { a: 2, b: 3 } });
await client.close();
const asked = new URL(kept.urls[0]).searchParams;
console.log(JSON.stringify({
  logins: kept.urls.length,
  asked: Object.fromEntries(
    ["resource", "scope", "code_challenge_method"].map((key) => [key, asked.get(key)]),
  ),
  scope: kept.tokens.scope,
  registered: kept.client.client_id,
  tools,
  text: result.content[0].text,
}));

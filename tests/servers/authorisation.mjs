// A real authorisation server (oidc-provider) on a free port of loopback.
//
// Arguments: the folder with its packages, then the URLs of the resources it gives tokens for.
// Public clients register themselves and use PKCE; `machine` has a secret and no person. Anybody is
// let in under the name that is typed into its own development login form.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { generateKeyPairSync } from "node:crypto";
import { pathToFileURL } from "node:url";

const [folder, ...resources] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { Provider, errors } = await import(pathToFileURL(require.resolve("oidc-provider")));

const key = (kid, alg, kind, options) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }), kid, alg, use: "sig",
});

const scopes = ["mcp:*", "mcp:demo", "mcp:demo:add", "mcp:sums", "mcp:other", "mcp:read"];
const server = createServer();
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: "machine", client_secret: "machine-secret-of-the-tests",
    grant_types: ["client_credentials"], redirect_uris: [], response_types: [],
  }],
  jwks: {
    keys: [
      key("rsa", "RS256", "rsa", { modulusLength: 2048 }),
      key("ec", "ES256", "ec", { namedCurve: "P-256" }),
    ],
  },
  cookies: { keys: ["cookies-of-the-tests"] },
  claims: { openid: ["sub"], email: ["email"], profile: ["preferred_username"] },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.org`, preferred_username: id }),
  }),
  extraTokenClaims: (ctx, token) => token.accountId && { email: `${token.accountId}@example.org` },
  scopes: ["openid", "offline_access", ...scopes],
  features: {
    clientCredentials: { enabled: true },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, resource) {
        if (!resources.includes(resource)) throw new errors.InvalidTarget();
        return {
          scope: scopes.join(" "),
          audience: resource,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "ES256" } },
        };
      },
    },
  },
});
server.on("request", provider.callback());
console.log(`listening on ${issuer}`);

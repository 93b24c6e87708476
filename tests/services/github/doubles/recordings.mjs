// Serves @octokit/fixtures' recordings of GitHub through @octokit/fixtures-server.
//
// Arguments: the folder whose node_modules has it; the port to listen on. Relaxed is what clients
// may do in several ways: headers of requests need not be those recorded; query parameters that no
// request of the scenario has, and page=1, are ignored; pages of a repository may be asked for by
// its name as by its number; and a repository's facts, recorded elsewhere, may be asked for at any
// time, since our server looks at them before it writes.
import { createRequire } from "node:module";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [root, port] = process.argv.slice(2);
const url = `http://127.0.0.1:${port}`;
const require = createRequire(join(root, "package.json"));
const express = require("express");
const { default: serve } = await import(pathToFileURL(require.resolve("@octokit/fixtures-server")));
const scenarios = join(root, "node_modules/@octokit/fixtures/scenarios/api.github.com");

function relaxed(name) {
  const recorded = JSON.parse(
    readFileSync(join(scenarios, name, "normalized-fixture.json"), "utf8"),
  );
  const [named] = /^\/repos\/[^/]+\/[^/]+/.exec(recorded[0].path) ?? [];
  const renames = recorded.some((one) => one.status === 301);
  return recorded.map((one) => ({
    ...one,
    reqheaders: {},
    path: named && !renames ? one.path.replace(/^\/repositories\/\d+/, named) : one.path,
  }));
}

function parametersOf(fixture) {
  return new Set(fixture.flatMap((one) => [...new URL(one.path, url).searchParams.keys()]));
}

const fixtures = Object.fromEntries(readdirSync(scenarios).map((name) => [name, relaxed(name)]));
const [repository] = fixtures["get-repository"];
const looksUpRepository = new Set(["get-repository", "rename-repository"]);
const playing = new Map();

const app = express();
app.post("/fixtures", express.json(), (request, response, next) => {
  const send = response.json.bind(response);
  response.json = (body) => {
    if (body.id) playing.set(body.id, request.body.scenario);
    return send(body);
  };
  next();
});
app.use((request, response, next) => {
  const asked = new URL(request.url, url);
  const [, , id, ...rest] = asked.pathname.split("/");
  const scenario = playing.get(id);
  if (!scenario) return next();
  const [first, owner, name, more] = rest;
  const facts = request.method === "GET" && first === "repos" && name && more === undefined;
  if (facts && !looksUpRepository.has(scenario)) {
    const text = JSON.stringify(repository.response);
    const named = text.replaceAll("octokit-fixture-org/hello-world", `${owner}/${name}`);
    return response.json({ ...JSON.parse(named), name });
  }
  const known = parametersOf(fixtures[scenario]);
  for (const [key, value] of [...asked.searchParams]) {
    if (!known.has(key) || (key === "page" && value === "1")) asked.searchParams.delete(key);
  }
  request.url = request.originalUrl = asked.pathname + asked.search;
  next();
});
app.use(serve({ port, fixturesUrl: url, logLevel: "silent", ttl: 600_000, fixtures }));
app.listen(port, "127.0.0.1", () => console.log(`listening on ${url}`));

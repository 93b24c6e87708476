// Checks GraphQL requests against GitHub's schema, and answers them from data that comes along.
//
// Argument: the folder whose node_modules has @octokit/graphql-schema. POST / takes {query,
// variables, operationName, data} and returns {violations: [message, …], answer: {data, errors}}.
// An answer is made by executing the query on the data, so it has the very shape that was asked for.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const root = process.argv[2];
const require = createRequire(join(root, "package.json"));
const { buildClientSchema, execute, getOperationAST, parse, validate } = require("graphql");
const { getVariableValues } = require("graphql/execution/values");
const file = join(root, "node_modules/@octokit/graphql-schema/schema.json");
const schema = buildClientSchema(JSON.parse(readFileSync(file, "utf8")));

function problems(document, { variables, operationName }) {
  const found = validate(schema, document).map((error) => error.message);
  if (found.length) return found;
  const operation = getOperationAST(document, operationName);
  if (!operation) return ["The operation is not in the document."];
  const definitions = operation.variableDefinitions ?? [];
  const known = new Set(definitions.map((one) => one.variable.name.value));
  const unknown = Object.keys(variables ?? {}).filter((name) => !known.has(name));
  const { errors } = getVariableValues(schema, definitions, variables ?? {});
  return [
    ...(errors ?? []).map((error) => error.message),
    ...unknown.map((name) => `Variable "$${name}" is not declared.`),
  ];
}

async function check(asked) {
  let document;
  try {
    document = parse(asked.query);
  } catch (error) {
    return { violations: [error.message], answer: null };
  }
  const violations = problems(document, asked);
  if (violations.length) return { violations, answer: null };
  const answer = await execute({
    schema,
    document,
    rootValue: asked.data,
    variableValues: asked.variables,
    operationName: asked.operationName,
  });
  return { violations, answer };
}

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const checked = await check(JSON.parse(Buffer.concat(parts).toString("utf8")));
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(checked));
});
server.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

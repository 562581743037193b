// A real OpenID Connect provider on loopback. It takes one JSON command a line and answers each with one line:
//   {"do": "start", "clients": [...], "people": {"login": {claims}}}  also again, with other clients or people
//   {"do": "rotate"}                                                  new signing keys under new ids
//   {"do": "people", "people": {...}}
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

let people = {};
let clients = [];
let keys = newKeys();
let serve = (request, response) => response.writeHead(503).end();
const asked = {};

const server = createServer((request, response) => {
  const path = request.url.split("?")[0];
  asked[path] = (asked[path] ?? 0) + 1;
  serve(request, response);
});
server.listen(0, "127.0.0.1", () => say({ url: address() }));

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  people = command.people ?? people;
  clients = command.clients ?? clients;
  if (command.do === "rotate") keys = newKeys();
  if (command.do !== "people" && command.do !== "asked") start();
  say({ done: command.do, asked });
}
server.close();
process.exit(0);

function start() {
  const provider = new Provider(address(), {
    clients,
    jwks: { keys },
    cookies: { keys: ["of a test"] },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"], groups: ["groups"] },
    scopes: ["openid", "profile", "email", "groups"],
    pkce: { required: () => true },
    responseTypes: ["code"],
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES256", "HS256"] },
    features: {
      devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        getResourceServerInfo: (ctx, resource) => ({
          scope: "chat", audience: resource, accessTokenTTL: 600, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
    findAccount: (ctx, sub) => people[sub] && { accountId: sub, claims: () => ({ sub, ...people[sub] }) },
    fetch: (url, options) => {
      delete options.dispatcher; // its guard refuses loopback, where this gateway is
      return fetch(url, options);
    },
  });
  provider.on("server_error", (ctx, error) => process.stderr.write(`${error.stack}\n`));
  serve = provider.callback();
}

function newKeys() {
  const made = [["rsa", { modulusLength: 2048 }, "RS256"], ["ec", { namedCurve: "P-256" }, "ES256"]];
  return made.map(([kind, options, alg]) => {
    const { privateKey } = generateKeyPairSync(kind, options);
    return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg };
  });
}

function address() {
  return `http://127.0.0.1:${server.address().port}`;
}

function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

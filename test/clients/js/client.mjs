// Asks for tokens as any Node program with the Azure SDK does; see ../go/main.go for what it prints.
//
//     client.mjs [--modules DIR] {managed|default} SCOPE [--count N] [--client-id ID]
//
// DIR is the node_modules folder that holds @azure/identity, or the folder that one is in; without it the SDK is looked for
// beside this file.

import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const usage = "usage: client.mjs [--modules DIR] {managed|default} SCOPE [--count N] [--client-id ID]";

function order() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      modules: { type: "string", default: dirname(fileURLToPath(import.meta.url)) },
      count: { type: "string", default: "1" },
      "client-id": { type: "string" },
    },
  });
  const [kind, scope, ...rest] = positionals;
  const count = Number(values.count);
  if (!["managed", "default"].includes(kind) || !scope || rest.length > 0 || !Number.isInteger(count) || count < 1) {
    throw new Error(usage);
  }
  return { kind, scope, count, clientId: values["client-id"], modules: resolve(values.modules) };
}

// sdk loads the SDK afresh: MSAL for Node keeps managed identity tokens in a static field (msal-node 5.6.0,
// ManagedIdentityApplication.nodeStorage), so that a new credential alone would be answered from the cache of the last.
function sdk(modules) {
  const require = createRequire(join(modules, "client.cjs"));
  for (const file of Object.keys(require.cache)) {
    delete require.cache[file];
  }
  return require("@azure/identity");
}

function credential({ DefaultAzureCredential, ManagedIdentityCredential }, kind, clientId) {
  if (kind === "managed") {
    return clientId ? new ManagedIdentityCredential({ clientId }) : new ManagedIdentityCredential();
  }
  return new DefaultAzureCredential(clientId ? { managedIdentityClientId: clientId } : {});
}

async function run() {
  let o;
  try {
    o = order();
  } catch (err) {
    console.error(err.message);
    return 2;
  }
  for (let i = 0; i < o.count; i++) {
    const loaded = sdk(o.modules); // outside: a missing SDK is no answer of the SDK
    try {
      const cred = credential(loaded, o.kind, o.clientId);
      const begin = performance.now();
      const { token, expiresOnTimestamp } = await cred.getToken(o.scope);
      const ms = Number((performance.now() - begin).toFixed(3));
      console.log(JSON.stringify({ token, expires_on: Math.floor(expiresOnTimestamp / 1000), ms }));
    } catch (err) {
      console.log(JSON.stringify({ error: err.message, type: err.name }));
      return 1;
    }
  }
  return 0;
}

process.exitCode = await run();

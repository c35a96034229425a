// A real OpenID provider, oidc-provider, on loopback: people are clients that get tokens by client_credentials, JWTs for
// urn:wasmilter:jwt and urn:wasmilter:others, opaque ones for urn:wasmilter:opaque. Its keys are new at each start.
//
// node provider.mjs MODULE PORT: where oidc-provider is, and 0 for any port. Prints the issuer when it is ready.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [module, port] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(module));

const key = (alg, type, options) => {
  const jwk = generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });
  return { ...jwk, alg, use: 'sig', kid: randomUUID() };
};

const person = (name, rest) => ({
  client_id: name,
  client_secret: `secret of ${name}`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  scope: 'smtp',
  ...rest,
});

const server = createServer();
await new Promise((ready) => server.listen(Number(port), '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [person('anna'), person('otto'), person('unverified'), person('gateway')],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  jwks: { keys: [key('ES256', 'ec', { namedCurve: 'P-256' }), key('PS256', 'rsa', { modulusLength: 2048 })] },
  scopes: ['smtp'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId === 'gateway' },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        scope: 'smtp',
        accessTokenFormat: resource === 'urn:wasmilter:opaque' ? 'opaque' : 'jwt',
        accessTokenTTL: 300,
        jwt: { sign: { alg: resource === 'urn:wasmilter:others' ? 'PS256' : 'ES256' } },
      }),
    },
  },
  extraTokenClaims: (_, token) => ({
    email: `${token.clientId}@inside.test`,
    email_verified: token.clientId !== 'unverified',
  }),
});
server.on('request', provider.callback());
console.log(issuer);

// node idp.mjs PORT AGENT_PUBLIC_JWK MODULES [BACKCHANNEL_URL]: the certified OpenID provider, offline, on loopback only.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [, , port, agentFile, modules, backchannel] = process.argv;
const CONSOLE = 'http://localhost:8480/console';
const resolve = createRequire(join(modules, 'package.json')).resolve;
const { Provider } = await import(pathToFileURL(resolve('oidc-provider')));

const issuer = `http://127.0.0.1:${port}`;
const API = 'https://gate.example/api';
const agent = JSON.parse(readFileSync(agentFile));
const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const people = { alice: ['sre'], bob: ['security'] };

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...jwk, alg: 'ES256', use: 'sig', kid: 'idp-1' }] },
  clients: [
    { client_id: 'cli', token_endpoint_auth_method: 'none', application_type: 'native', id_token_signed_response_alg: 'ES256',
      redirect_uris: ['http://127.0.0.1/cb'], response_types: ['code'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'] },
    { client_id: 'agent-1', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [agent] }, grant_types: ['client_credentials'], redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256' },
    { client_id: 'console', client_secret: 'console-secret', token_endpoint_auth_method: 'client_secret_basic', id_token_signed_response_alg: 'ES256',
      redirect_uris: [`${CONSOLE}/callback`], post_logout_redirect_uris: [`${CONSOLE}/signedout`], response_types: ['code'], grant_types: ['authorization_code'],
      ...(backchannel ? { backchannel_logout_uri: backchannel, backchannel_logout_session_required: true } : {}) },
  ],
  acrValues: ['strong'],
  fetch: (url, { dispatcher, ...options }) => fetch(url, options), // its own refuses loopback, where the console is
  scopes: ['openid', 'offline_access', 'groups', 'ops:read', 'ops:act'],
  claims: { openid: ['sub'], groups: ['groups'] }, conformIdTokenClaims: false,
  enabledJWA: { clientAuthSigningAlgValues: ['ES256'], idTokenSigningAlgValues: ['ES256'] },
  pkce: { required: () => true }, cookies: { keys: ['test-only'] },
  async findAccount(ctx, id) { return { accountId: id, claims: async () => ({ sub: id, groups: people[id] ?? [] }) }; },
  extraTokenClaims: (ctx, token) => ({ groups: token.accountId ? people[token.accountId] ?? [] : ['bots'] }),
  features: {
    devInteractions: { enabled: true }, clientCredentials: { enabled: true }, deviceFlow: { enabled: true }, dPoP: { enabled: true }, backchannelLogout: { enabled: true },
    resourceIndicators: { enabled: true, defaultResource: () => API, useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'ops:read ops:act', audience: API, accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }) },
  },
});
// Bob signs in with a security key, alice with a password.
const finished = provider.interactionFinished.bind(provider);
provider.interactionFinished = (req, res, result, options) => {
  if (result.login?.accountId === 'bob') result.login.acr = 'strong';
  return finished(req, res, result, options);
};
provider.on('backchannel.error', (ctx, error) => console.error(error));
provider.on('server_error', (ctx, error) => console.error(error));
provider.listen(Number(port), '127.0.0.1', () => console.log('ready', issuer));

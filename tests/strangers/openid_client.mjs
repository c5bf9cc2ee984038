// openid_client.mjs ISSUER CLIENT_ID CLIENT_SECRET USERNAME PASSWORD: discovery, then a password, five refreshes and
// client_credentials with openid-client. Prints the tokens that it was given.
import { load } from "./modules.mjs";

const client = await load("openid-client");
const [issuer, clientId, secret, username, password] = process.argv.slice(2);
const options = { execute: [client.allowInsecureRequests] };
const found = {};
for (const algorithm of ["oidc", "oauth2"]) {
  const known = await client.discovery(new URL(issuer), clientId, secret, client.ClientSecretBasic(secret), { ...options, algorithm });
  found[algorithm] = known.serverMetadata().token_endpoint;
}
const config = await client.discovery(new URL(issuer), clientId, secret, client.ClientSecretBasic(secret), options);
const post = await client.discovery(new URL(issuer), clientId, secret, client.ClientSecretPost(secret), options);

let tokens = await client.genericGrantRequest(config, "password", { username, password });
const refresh = [tokens.refresh_token];
const access = [tokens.access_token];
for (let i = 0; i < 5; i += 1) {
  tokens = await client.refreshTokenGrant(i % 2 ? post : config, tokens.refresh_token);
  refresh.push(tokens.refresh_token);
  access.push(tokens.access_token);
}
const own = await client.clientCredentialsGrant(config);
console.log(JSON.stringify({ found, refresh, access, own }));

// openid_client.mjs ISSUER CLIENT_ID CLIENT_SECRET USERNAME PASSWORD: discovery, then a password, five refreshes,
// introspection, revocation and client_credentials with openid-client; and oauth4webapi as a resource server judges the
// access tokens by RFC 9068. Prints what came of it.
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

const oauth = await load("oauth4webapi");
const insecure = { [oauth.allowInsecureRequests]: true };
const url = new URL(issuer);
const server = await oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { algorithm: "oauth2", ...insecure }));
const judged = (token, audience) => {
  const request = new Request(`${issuer}/v1/me`, { headers: { authorization: `Bearer ${token}` } });
  return oauth.validateJwtAccessToken(server, request, audience, insecure);
};
const claims = [await judged(tokens.access_token, issuer), await judged(own.access_token, issuer)];
// The same call must be able to say no: another audience, one bit of the signature, claims that were put in.
const [header, , signature] = own.access_token.split(".");
const last = tokens.access_token.length - 10;
const flipped = tokens.access_token.slice(0, last) + (tokens.access_token[last] === "A" ? "B" : "A") + tokens.access_token.slice(last + 1);
const swapped = [header, tokens.access_token.split(".")[1], signature].join(".");
let refused = 0;
for (const [token, audience] of [[tokens.access_token, "https://elsewhere.example.org"], [flipped, issuer], [swapped, issuer]]) {
  await judged(token, audience).catch(() => (refused += 1));
}

const before = await client.tokenIntrospection(config, tokens.access_token);
const refreshToken = await client.tokenIntrospection(post, tokens.refresh_token);
await client.tokenRevocation(config, tokens.refresh_token);
const after = await client.tokenIntrospection(config, tokens.access_token);
const error = await client.refreshTokenGrant(config, tokens.refresh_token).then(() => "none", (why) => why.error);
console.log(JSON.stringify({ found, refresh, access, own, claims, refused, before, refreshToken, after, error }));

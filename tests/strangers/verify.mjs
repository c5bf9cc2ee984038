// verify.mjs ISSUER TOKEN: verifies an access token with jose, as a resource server would, and prints what it found.
import { load } from "./modules.mjs";

const { createRemoteJWKSet, jwtVerify } = await load("jose");
const [issuer, token] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience: issuer, typ: "at+jwt", algorithms: ["ES256"] });

// The same call must be able to say no: a token with one bit of its signature changed, and another audience.
const last = token.length - 10;
const forged = token.slice(0, last) + (token[last] === "A" ? "B" : "A") + token.slice(last + 1);
let refused = 0;
for (const [candidate, audience] of [[forged, issuer], [token, "https://elsewhere.example.org"]]) {
  await jwtVerify(candidate, keys, { issuer, audience, typ: "at+jwt" }).catch(() => (refused += 1));
}
console.log(JSON.stringify({ payload, protectedHeader, refused }));

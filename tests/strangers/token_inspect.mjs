// token_inspect.mjs: makes a key and a token of every algorithm that jose knows, and prints them with the public halves.
import { load } from "./modules.mjs";

const { SignJWT, exportJWK, generateKeyPair } = await load("jose");
const algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
const made = [];
for (const alg of algorithms) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const kid = `jose-${alg}`;
  const claims = new SignJWT({ scope: "all", nested: { list: [1, 2.5, null] } });
  const token = await claims
    .setProtectedHeader({ alg, kid, typ: "JWT" })
    .setIssuer("https://jose.example.org")
    .setSubject("ada")
    .setAudience(["one", "two"])
    .setIssuedAt()
    .setExpirationTime("15m")
    .sign(privateKey);
  made.push({ alg, token, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } });
}
console.log(JSON.stringify(made));

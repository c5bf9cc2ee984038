//! What gatemint promises, one file per capability, all in one binary.
#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect fails there")]
#![expect(clippy::print_stdout, reason = "a race test says how many races it counted")]

// What the tests share.
mod support;

// Grants, sessions, revocation and introspection, through the router.
mod tokens;

// Signing keys and peppers take turns without anyone noticing; in an emergency what must die does, and nothing else.
mod rotation;
// May a request to somebody else's route pass? Only with a token that stands, for this issuer.
mod passing;
// The functions on DynamoDB and Secrets Manager: what each asks for, and what becomes of it when nobody answers.
#[cfg(feature = "aws")]
mod functions;
// What is revoked is closed at once, in every process.
mod revoke;
// Every sample event through the real Lambda artefact.
mod events;
// The code itself keeps to the design: imports, sizes, licences, docs.
mod house;
// Of many refreshes at once one moves the session, and all get the same successor; a replay ends everything.
mod race;
// Every store keeps the port's promises, and the SQLite store survives what happens to files.
mod store;
// The DynamoDB store on emulators: the same promises, through every fault, and a service on top of it.
#[cfg(feature = "aws")]
mod dynamodb;
// The same promises on another emulator: slow, and a second opinion.
#[cfg(feature = "aws")]
mod dynamodb_moto;
// Every vault keeps the port's promises, and the file vault guards its directory.
mod vault;
// AWS Secrets Manager as the vault, on an emulator, and through a network that fails.
#[cfg(feature = "aws")]
mod secrets_manager;
// The same promises on another emulator.
#[cfg(feature = "aws")]
mod vault_on_moto;
// Rotations as Secrets Manager asks for them, from an empty secret on, and with Secrets Manager away.
#[cfg(feature = "aws")]
mod rotate_keys;
// Users, clients and tokens over /v1: who may do what, in every process at once, and what races come to.
mod accounts;
// Sites and permissions: which host is which resource, what races come to, and what a name that is made again inherits.
mod sites;
// A service account's tokens stand as long as they should: each way of ending one, races, last uses.
mod standing;
// Who may do what: random histories beside a slow and obvious reference, on every store, and what races come to.
mod permissions;
// One state in the cloud: what `serve`, the functions and the commands do with it together.
#[cfg(feature = "aws")]
mod two_doors;
// The first start: several at once, what it prints, where it listens, how it ends.
mod first_start;
// A token that is always fresh never has less than ten minutes for whoever reads it, over days of faults and races.
mod fresh;
// A process that is killed loses nothing that it acknowledged, from its first start on.
mod kill;
// The operator's commands on the state itself, for people and in JSON.
mod operator;
// Anybody's token through `token inspect`: good, expired, forged, and told why.
mod inspect;
// Version, completions, manual pages: what shells and packagers ask for.
mod shell;
// Whatever is thrown at it: a clear refusal, nothing lost, never a 500 and never a panic.
mod hostile;
// A backup is of one moment, and what is made of it goes on.
mod backup;
// Connections, the log and the metrics of the real program: nothing holds it up, and nothing ends it.
mod serving;
// GateTokens as Kubernetes' clients make, read and delete them: rights, refusals, races, and what ends them.
mod gate_token;
// Service accounts by Kubernetes' paths: rights, refusals, short-lived tokens, reviews, and the manual way.
mod service_account;
// The webhook by which pods get the token that is always fresh: its patches, what it leaves alone, what it refuses.
mod admission;
// Guessing a password gets slow for strangers, and its owner is not kept out.
mod throttle;
// The OpenAPI document and its page: stored as served, every route in it, and nothing else.
mod openapi;
// Which URLs a token opens, beside a slow and obvious reference; and every parser ends with a verdict.
mod matcher;
// The same, a million times.
mod matcher_long;
// Signed links: what opens one, where it leads, and its pages.
mod links;
// One-time links: one of many who press wins, and a retry of hers gets the same.
mod one_time;
// Apolo's clients: service accounts, permissions and what a sign-in reads, through the router.
mod apolo;
// `service-account`, `acl`, `identity`, `credential`: through both doors, in place of a login, and where nobody is asked.
mod account_commands;
// The token that is always fresh, read by Kubernetes' paths: who may, what it says, what ends it; and a refresh token as a file.
mod fresh_token;

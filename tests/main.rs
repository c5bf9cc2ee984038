//! What gatemint promises, one file per capability, all in one binary.
#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect fails there")]
#![expect(clippy::print_stdout, reason = "a race test says how many races it counted")]

// The code itself keeps to the design: imports, sizes, licences, docs.
mod house;
// Every store keeps the port's promises, and the SQLite store survives what happens to files.
mod store;
// Every vault keeps the port's promises, and the file vault guards its directory.
mod vault;

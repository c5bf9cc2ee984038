//! The connections that read.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use rusqlite::Connection;

use super::file::{self, Open, Purpose, Trouble};

/// The most idle connections that are kept; more than that are only open while that many reads go on at once.
const KEPT: usize = 8;

/// A stack of idle connections: the one used last has the warmest cache.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Open>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    /// Reads through an idle connection, or a new one. Never waits for a lock of the database.
    pub(super) fn read<T>(&self, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, Trouble> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let open = match idle.filter(|open| open.is_current(&self.path)) {
            Some(open) => open,
            None => file::connect(&self.path, Purpose::Read)?,
        };
        // After an error the connection is dropped: a new one starts without whatever was wrong with it.
        let value = work(&open.connection).map_err(|error| Trouble::new(&self.path, error))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(open);
        }
        Ok(value)
    }
}

//! How long a call goes on trying, and how it waits in between.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::{Sleep, sleep};

use super::{
    super::StoreError,
    failure::{Failure, Trouble},
};
use crate::{
    entropy::{Entropy, SystemEntropy},
    metric,
};

/// The most that a call of the store takes.
const TOTAL: Duration = Duration::from_secs(6);
/// The most attempts that a call makes.
const ATTEMPTS: u32 = 10;
/// The longest pause after the first failure; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest pause of all.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One call's patience: attempts and pauses until it has an answer, or has tried long enough.
pub(super) struct Patience {
    deadline: Pin<Box<Sleep>>,
    failed: u32,
    last: Option<Failure>,
}

impl Patience {
    /// The clock starts now.
    pub(super) fn new() -> Self {
        Self { deadline: Box::pin(sleep(TOTAL)), failed: 0, last: None }
    }

    /// Makes an attempt. None: it failed for a passing reason, the pause is over, try again.
    ///
    /// # Errors
    /// It failed for a lasting reason, or patience is at its end.
    pub(super) async fn attempt<T>(
        &mut self,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<Option<T>, StoreError> {
        let outcome = tokio::select! {
            biased;
            outcome = work => outcome,
            () = &mut self.deadline => return Err(self.spent()),
        };
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Trouble::Unreadable(error)) => Err(error),
            Err(Trouble::Lasting(failure)) => Err(StoreError::new(failure)),
            Err(Trouble::Passing(failure)) => self.pause(failure).await.map(|()| None),
        }
    }

    /// Waits after a failure: a random part of a time that doubles, so that those who were refused together do not come
    /// back together.
    ///
    /// # Errors
    /// Patience is at its end.
    pub(super) async fn pause(&mut self, failure: Failure) -> Result<(), StoreError> {
        metric::store_retried();
        tracing::debug!(cause = %failure, "DynamoDB is asked again");
        self.last = Some(failure);
        self.failed += 1;
        if self.failed >= ATTEMPTS {
            return Err(self.spent());
        }
        let pause = random_part(LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(self.failed - 1)));
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = &mut self.deadline => Err(self.spent()),
        }
    }

    fn spent(&mut self) -> StoreError {
        // The one that the deadline cut off is not among the failed.
        let attempts = ATTEMPTS.min(self.failed + 1);
        match self.last.take() {
            Some(last) => StoreError::new(Spent { attempts, last }),
            None => StoreError::new(format!("no answer within {} s", TOTAL.as_secs())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("gave up after {attempts} attempts: {last}")]
struct Spent {
    attempts: u32,
    last: Failure,
}

fn random_part(of: Duration) -> Duration {
    let drawn = u32::from_be_bytes((&SystemEntropy as &dyn Entropy).bytes());
    of.mul_f64(f64::from(drawn) / f64::from(u32::MAX))
}
